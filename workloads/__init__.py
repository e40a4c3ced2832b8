"""Dirtying models, one a file: each a function (vm, seed, *, parameters) of a workload."""
