"""Write golden files again: run `python -m tests.cli.bench.golden [NAME...]` in the root of the checkout."""

import os
import sys

import pytest

os.environ["GOLDEN"] = "write"
names = ["-k", " or ".join(sys.argv[1:])] if sys.argv[1:] else []
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "tests/cli/bench/test_golden.py", *names]))
