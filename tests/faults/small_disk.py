"""Prepare on disks that are too small, and in a folder that is mounted read-only. Needs the right to mount:

`unshare --user --map-root-user --mount python -m tests.faults.small_disk`
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import click

from emodna.pipeline.store import FeatureStore
from tests.faults import forking, scenarios
from tests.faults.scenarios import Scenario

BLOCK = 4096


def mount(*arguments: object) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True)


def count_blocks(folder: Path) -> int:
    """Return the number of blocks of the files and folders below a folder."""
    return sum(1 if path.is_dir() else -(-path.stat().st_size // BLOCK) for path in folder.rglob("*"))


def prepare_on_small_disk(scenario: Scenario, disk: Path, spare: int) -> bool:
    """Prepare with this many free blocks; return True if they were too few."""
    disk.mkdir()
    mount("-t", "tmpfs", "-o", f"size={(count_blocks(scenario.older) + spare + 2) * BLOCK}", "tmpfs", disk)
    store = scenarios.copy_older_store(scenario, disk / "cache")
    result = forking.run_child(scenario.make_prep(disk / "cache"))
    found = scenarios.open_in_child(store)
    if result.code:
        line = scenarios.find_error_line(result)
        assert "No space left on device; free some space" in line, line
        assert str(store) in line, line
        assert "Traceback" not in result.err, result
        assert found in (scenario.before, scenario.expected)
    else:
        assert found == scenario.expected
    assert not list(disk.rglob("*.tmp"))
    mount("-o", "remount,size=64m", disk)
    assert forking.run_child(scenario.make_prep(disk / "cache")).code == 0
    scenarios.check_finished(scenario, disk / "cache")
    return result.code != 0


def prepare_read_only(scenario: Scenario, folder: Path) -> None:
    """Prepare in a read-only folder, and read the store there."""
    store = scenarios.copy_older_store(scenario, folder / "cache")
    (store / ".readers").unlink()
    mount("--bind", folder / "cache", folder / "cache")
    mount("-o", "remount,bind,ro", folder / "cache")
    result = forking.run_child(scenario.make_prep(folder / "cache"))
    assert (result.code, result.out, len(result.err.splitlines())) == (1, "", 1), result
    assert result.err.startswith(f"error: {store}: cannot be written: Read-only file system"), result
    assert scenarios.open_in_child(store) == scenario.before
    assert forking.evaluate(lambda: len(FeatureStore(store))) == len(scenario.before.audio)


@click.command()
def main() -> None:
    """Print the number of disks that were too small. Mounts and unmounts below $TMPDIR."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mount("-t", "tmpfs", "tmpfs", folder)  # unmounted with the mounts below it
        scenario = scenarios.make_scenario(folder)
        spares = range(0, 40, 18)
        too_small = sum(prepare_on_small_disk(scenario, folder / f"disk-{spare}", spare) for spare in spares)
        (folder / "ro").mkdir()
        prepare_read_only(scenario, folder / "ro")
        subprocess.run(["umount", "--recursive", "--lazy", str(folder)], check=True)
    click.echo(f"{too_small} of {len(spares)} disks were too small")


if __name__ == "__main__":
    main()
