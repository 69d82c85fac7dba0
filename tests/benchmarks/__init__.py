"""Measurements that a reader can rerun; each module is a command, none is part of the test suite."""
