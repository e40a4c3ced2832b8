"""Dirtying models, one a file: each a function (vm, seed, *, parameters) that returns a workload."""
