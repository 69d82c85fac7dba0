"""Experiments: all ordered pairs of corpora by tasks, methods and seeds, with their tables and figures."""
