"""Memory that one step frees is there for the next one."""

import os
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, resource
from emodna.model.training.acceleration import keep_freed_memory
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
library.free.argtypes = [ctypes.c_void_p]

def step():
    places = [library.malloc(8 << 20) for _ in range(8)]
    for place in places:
        ctypes.memset(place, 1, 8 << 20)
    for place in places:
        library.free(place)

def faults():
    step()
    step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

usual = faults()
keep_freed_memory()
keep_freed_memory()
print(usual, faults())
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_freed_memory_is_kept() -> None:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, env=ours)
    usual, kept = map(int, done.stdout.split())
    assert kept < 0.01 * usual
