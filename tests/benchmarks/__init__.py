"""Benchmarks; each module is a command, and none is part of the test suite."""
