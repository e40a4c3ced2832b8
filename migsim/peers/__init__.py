"""What others would predict: the rules of models and simulators that researchers use instead."""
