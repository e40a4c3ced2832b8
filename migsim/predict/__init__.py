"""Predictions before a migration: what each way of migrating will cost, and which settings do."""
