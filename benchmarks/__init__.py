"""Measurements of speed and memory; each module is a program: `python -m benchmarks.NAME` from the root."""
