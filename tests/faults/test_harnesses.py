"""Run the harnesses of this folder with small counts."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tests


def run_harness(*arguments: object, before: tuple[str, ...] = ()) -> str:
    """Run a module of this folder in a process, because it forks; return its output."""
    command = [*before, sys.executable, "-m", *map(str, arguments)]
    folder = Path(str(tests.__file__)).parents[1]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=600)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return ran.stdout


@pytest.mark.parametrize("count", [4, pytest.param(40, marks=pytest.mark.slow)])
def test_a_killed_preparation_can_be_resumed(count: int) -> None:
    assert f"| **all** | **{count}** |" in run_harness("tests.faults.kill", "--count", count, "--seed", 4)


@pytest.mark.parametrize("count", [4, pytest.param(40, marks=pytest.mark.slow)])
def test_a_failing_file_call_is_reported_or_harmless(count: int) -> None:
    printed = run_harness("tests.faults.inject", "--sample", count, "--seed", 4)
    assert f"| **all** | | | **{count}** |" in printed
    assert "| reported |" in printed


@pytest.mark.slow
def test_readers_see_a_consistent_store_while_writers_commit_and_are_killed() -> None:
    printed = run_harness("tests.faults.crowd", "--seconds", 4, "--readers", 2)
    assert re.search(r"finished: \d+.*read [AB]: \d+", printed)


@pytest.mark.slow
def test_full_disks_and_read_only_folders_are_errors() -> None:
    alone = ("unshare", "--user", "--map-root-user", "--mount")
    mounts = [*alone, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    if shutil.which("unshare") is None or subprocess.run(mounts, check=False, capture_output=True).returncode:
        pytest.skip("needs unshare --user --mount")
    assert re.fullmatch(r"[1-9]\d* of \d+ disks were too small\n", run_harness("tests.faults.small_disk", before=alone))
