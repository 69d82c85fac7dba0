"""Prepare onto disks that are too small, and into a folder that is mounted read-only. It must be root of its mounts:

`unshare --user --map-root-user --mount python -m tests.faults.small_disk`
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import click

from emodna.pipeline.store import FeatureStore
from tests.faults import forking, scenario
from tests.faults.scenario import Scenario

BLOCK = 4096


def mount(*arguments: object) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True)


def used(folder: Path) -> int:
    """Blocks that the files and folders below a folder take."""
    return sum(1 if path.is_dir() else -(-path.stat().st_size // BLOCK) for path in folder.rglob("*"))


def full(of: Scenario, disk: Path, spare: int) -> bool:
    """Prepare where so many blocks are free; whether that was too few."""
    disk.mkdir()
    mount("-t", "tmpfs", "-o", f"size={(used(of.older) + spare + 2) * BLOCK}", "tmpfs", disk)
    store = scenario.copy_older(of, disk / "cache")
    ended = forking.run(of.prep(disk / "cache"))
    found = scenario.opened(store)
    if ended.code:
        line = scenario.error_line(ended)
        assert "No space left on device; free some space" in line, line
        assert str(store) in line, line
        assert "Traceback" not in ended.err, ended
        assert found in (of.before, of.expected)
    else:
        assert found == of.expected
    assert not list(disk.rglob("*.tmp"))
    mount("-o", "remount,size=64m", disk)
    assert forking.run(of.prep(disk / "cache")).code == 0
    scenario.check_finished(of, disk / "cache")
    return ended.code != 0


def read_only(of: Scenario, folder: Path) -> None:
    """Prepare where nothing can be written, and read there."""
    store = scenario.copy_older(of, folder / "cache")
    (store / ".readers").unlink()
    mount("--bind", folder / "cache", folder / "cache")
    mount("-o", "remount,bind,ro", folder / "cache")
    ended = forking.run(of.prep(folder / "cache"))
    assert (ended.code, ended.out) == (1, ""), ended
    assert ended.err.startswith(f"error: {store}: cannot be written: Read-only file system"), ended
    assert len(ended.err.splitlines()) == 1, ended
    assert scenario.opened(store) == of.before
    assert forking.answer(lambda: len(FeatureStore(store))) == len(of.before.audio)


@click.command()
def main() -> None:
    """Print how many disks were too small; mounts and unmounts below $TMPDIR."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mount("-t", "tmpfs", "tmpfs", folder)  # the mounts below go with it
        of = scenario.make(folder)
        spares = range(0, 40, 18)
        too_small = sum(full(of, folder / f"disk-{spare}", spare) for spare in spares)
        (folder / "ro").mkdir()
        read_only(of, folder / "ro")
        subprocess.run(["umount", "--recursive", "--lazy", str(folder)], check=True)
    click.echo(f"{too_small} of {len(spares)} disks were too small")


if __name__ == "__main__":
    main()
