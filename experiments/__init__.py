"""Experiments, one question a file: a sweep, claims that must hold, and a figure."""
