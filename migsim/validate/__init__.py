"""Models against measurements: each module predicts what somebody has measured."""
