"""The harnesses of this folder, each with a small number; their commands do hundreds."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tests


def harness(*arguments: object, before: tuple[str, ...] = ()) -> str:
    """Run a module of this folder in a process of its own, since it forks; what it prints."""
    command = [*before, sys.executable, "-m", *map(str, arguments)]
    folder = Path(str(tests.__file__)).parents[1]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_a_run_killed_at_any_instant_harms_nothing_and_the_next_goes_on_from_there() -> None:
    assert "| **all** | **12** |" in harness("tests.faults.kill", "--count", 12, "--seed", 4)


def test_a_call_on_a_file_that_fails_is_told_or_does_no_harm() -> None:
    printed = harness("tests.faults.inject", "--sample", 10, "--seed", 4)
    assert "| **all** | | | **10** |" in printed
    assert "| told |" in printed


def test_readers_find_one_content_or_the_other_while_runs_commit_and_are_killed() -> None:
    printed = harness("tests.faults.crowd", "--seconds", 4, "--readers", 2)
    assert re.search(r"finished: \d+.*read [AB]: \d+", printed)


def test_a_full_disk_and_a_folder_mounted_read_only() -> None:
    alone = ("unshare", "--user", "--map-root-user", "--mount")
    mounts = [*alone, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    if shutil.which("unshare") is None or subprocess.run(mounts, check=False, capture_output=True).returncode:
        pytest.skip("no mounts of one's own here (unshare --user --mount)")
    assert re.fullmatch(r"[1-9]\d* of \d+ disks were too small\n", harness("tests.faults.small_disk", before=alone))
