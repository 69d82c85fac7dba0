"""Snapshots on disk: which steps, one file each, whole or not at all."""

from pathlib import Path

import pytest

from emodna.model.errors import RunError
from emodna.model.methods.source_only import SourceOnly
from emodna.model.training.snapshots import Snapshots
from tests.model.small import assert_same_tensors


def method(seed: int = 0) -> SourceOnly:
    return SourceOnly(6, SourceOnly.defaults, seed)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def snapshots(tmp_path: Path) -> Snapshots:
    """Of steps 2, 4 and 5, all taken."""
    taken = Snapshots(tmp_path / "snapshots", 2, 5)
    taken.rewind_to(0)
    for step in taken.steps:
        taken.save(method(step), step)
    return taken


@pytest.mark.parametrize(
    ("every", "total", "expected"),
    [(0, 5, []), (1, 3, [1, 2, 3]), (2, 5, [2, 4, 5]), (5, 5, [5]), (9, 5, [5])],
)
def test_steps_are_every_so_many_and_the_last(every: int, total: int, expected: list[int]) -> None:
    assert Snapshots(Path("nowhere"), every, total).steps == expected


class TestFiles:
    def test_give_a_method_its_state_back(self, snapshots: Snapshots) -> None:
        other = method(99)
        snapshots.restore(other, 4)
        assert_same_tensors(other.state_dict(), method(4).state_dict())

    def test_are_named_by_their_steps_and_of_equal_states_equal(self, snapshots: Snapshots) -> None:
        assert names(snapshots.folder) == [f"step-{step:06d}.safetensors" for step in (2, 4, 5)]
        before = snapshots.path(4).read_bytes()
        snapshots.save(method(4), 4)
        assert snapshots.path(4).read_bytes() == before

    def test_of_another_network_are_refused(self, snapshots: Snapshots) -> None:
        with pytest.raises(RunError, match=r"step-000002\.safetensors: damaged, or not of this version: tensor "):
            snapshots.restore(SourceOnly(7, SourceOnly.defaults, 0), 2)


class TestGoingOn:
    @pytest.mark.parametrize(("done", "left"), [(0, []), (1, []), (2, [2]), (3, [2]), (4, [2, 4]), (5, [2, 4, 5])])
    def test_drops_what_comes_later(self, done: int, left: list[int], snapshots: Snapshots) -> None:
        snapshots.rewind_to(done)
        assert names(snapshots.folder) == [snapshots.path(step).name for step in left]

    def test_drops_what_a_kill_left_unfinished_and_leaves_files_of_others_alone(self, snapshots: Snapshots) -> None:
        (snapshots.folder / "step-000004.safetensors.4711.tmp").write_bytes(b"half")
        (snapshots.folder / "notes.txt").write_text("the best is 4")
        snapshots.rewind_to(0)
        assert names(snapshots.folder) == ["notes.txt"]

    def test_without_an_earlier_one_is_refused(self, snapshots: Snapshots) -> None:
        snapshots.path(2).unlink()
        snapshots.rewind_to(1)
        with pytest.raises(RunError, match=r"step-000002\.safetensors: missing"):
            snapshots.rewind_to(4)
