"""Model snapshots: their steps, their files, and rewinding."""

from pathlib import Path

import pytest

from emodna.model.methods.source_only import SourceOnly
from emodna.model.training.snapshots import Snapshots
from tests.model.small import assert_same_tensors, expect_run_error


def method(seed: int = 0) -> SourceOnly:
    return SourceOnly(6, SourceOnly.defaults, seed)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def snapshots(tmp_path: Path) -> Snapshots:
    """Return the snapshots of steps 2, 4 and 5, all saved."""
    taken = Snapshots(tmp_path / "snapshots", 2, 5)
    taken.rewind_to(0)
    for step in taken.steps:
        taken.save(method(step), step)
    return taken


@pytest.mark.parametrize(
    ("every", "total", "expected"), [(0, 5, []), (1, 3, [1, 2, 3]), (2, 5, [2, 4, 5]), (5, 5, [5]), (9, 5, [5])]
)
def test_steps_are_multiples_of_the_interval_and_the_last(every: int, total: int, expected: list[int]) -> None:
    assert Snapshots(Path("nowhere"), every, total).steps == expected


class TestFiles:
    def test_a_snapshot_restores_the_state(self, snapshots: Snapshots) -> None:
        other = method(99)
        snapshots.restore(other, 4)
        assert_same_tensors(other.state_dict(), method(4).state_dict())

    def test_files_are_named_by_step_and_equal_for_equal_states(self, snapshots: Snapshots) -> None:
        assert names(snapshots.folder) == [f"step-{step:06d}.safetensors" for step in (2, 4, 5)]
        before = snapshots.path(4).read_bytes()
        snapshots.save(method(4), 4)
        assert snapshots.path(4).read_bytes() == before

    def test_a_snapshot_of_another_network_is_an_error(self, snapshots: Snapshots) -> None:
        with expect_run_error(snapshots.path(2)):
            snapshots.restore(SourceOnly(7, SourceOnly.defaults, 0), 2)


class TestRewind:
    @pytest.mark.parametrize(("done", "left"), [(0, []), (1, []), (2, [2]), (3, [2]), (4, [2, 4]), (5, [2, 4, 5])])
    def test_later_snapshots_are_deleted(self, done: int, left: list[int], snapshots: Snapshots) -> None:
        snapshots.rewind_to(done)
        assert names(snapshots.folder) == [snapshots.path(step).name for step in left]

    def test_incomplete_snapshots_are_deleted_and_other_files_kept(self, snapshots: Snapshots) -> None:
        (snapshots.folder / "step-000004.safetensors.4711.tmp").write_bytes(b"half")
        (snapshots.folder / "notes.txt").write_text("the best is 4")
        snapshots.rewind_to(0)
        assert names(snapshots.folder) == ["notes.txt"]

    def test_a_missing_earlier_snapshot_is_an_error(self, snapshots: Snapshots) -> None:
        snapshots.path(2).unlink()
        snapshots.rewind_to(1)
        with expect_run_error(snapshots.path(2)):
            snapshots.rewind_to(4)
