"""Saved tensors are exact and atomic, and damage is an error."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from emodna.model import checkpoint
from emodna.model.errors import RunError
from tests.model.small import assert_same_tensors, expect_run_error, make_damaged_copies

FACTS = {"step": 3, "name": "emo-dna", "nested": {"a": [1, 2.5, None]}}


def make_tensors() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "weights": torch.randn(3, 4, generator=generator),
        "double": torch.randn(2, generator=generator, dtype=torch.float64),
        "scalar": torch.tensor(5),
        "bytes": torch.arange(7, dtype=torch.uint8),
        "empty": torch.empty(0, 3),
        "odd": torch.tensor([torch.nan, torch.inf, -0.0]),
    }


class TestRoundTrip:
    def test_content_is_equal_bit_for_bit(self, tmp_path: Path) -> None:
        path = tmp_path / "state.safetensors"
        checkpoint.save_tensors(path, make_tensors(), FACTS)
        tensors, facts = checkpoint.load_tensors(path)
        expected = make_tensors()
        assert facts == FACTS
        # NaN is not equal to itself.
        assert tensors.pop("odd").numpy().tobytes() == expected.pop("odd").numpy().tobytes()
        assert_same_tensors(tensors, expected)
        assert {name: tensor.dtype for name, tensor in tensors.items()} == {n: t.dtype for n, t in expected.items()}

    def test_views_and_parameters_are_saved(self, tmp_path: Path) -> None:
        whole = nn.Parameter(torch.arange(12.0).reshape(3, 4))
        checkpoint.save_tensors(tmp_path / "state", {"parameter": whole, "view": whole.T}, {})
        tensors, _ = checkpoint.load_tensors(tmp_path / "state")
        assert_same_tensors(tensors, {"parameter": whole.data, "view": whole.data.T})

    def test_the_same_content_gives_the_same_bytes(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            checkpoint.save_tensors(tmp_path / name, make_tensors(), FACTS)
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_failed_write_keeps_the_earlier_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.safetensors"
    checkpoint.save_tensors(path, make_tensors(), {"step": 1})

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save_tensors(path, make_tensors(), {"step": 2})
    assert checkpoint.load_tensors(path)[1] == {"step": 1}
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


class TestDamage:
    def test_a_missing_file_is_an_error(self, tmp_path: Path) -> None:
        with expect_run_error(tmp_path / "absent.safetensors"):
            checkpoint.load_tensors(tmp_path / "absent.safetensors")

    def test_a_file_of_other_software_is_an_error(self, tmp_path: Path) -> None:
        import safetensors.torch

        for metadata in (None, {"format": "pt"}, {"emodna": "no JSON"}, {"emodna": json.dumps([1])}):
            path = tmp_path / "other.safetensors"
            path.write_bytes(safetensors.torch.save({"x": torch.zeros(2)}, metadata))
            with expect_run_error(path):
                checkpoint.load_tensors(path)

    def test_any_damage_is_an_error(self, tmp_path: Path) -> None:
        path = tmp_path / "state.safetensors"
        checkpoint.save_tensors(path, make_tensors(), FACTS)
        for content in make_damaged_copies(path.read_bytes(), 200):
            path.write_bytes(content)
            with expect_run_error(path):
                checkpoint.load_tensors(path)


def test_a_tensor_that_does_not_fit_is_named() -> None:
    state = nn.Linear(3, 2).state_dict()
    odd = {
        "weight": {**state, "weight": torch.zeros(2, 4)},
        "bias": {"weight": state["weight"]},
        "extra": {**state, "extra": torch.zeros(1)},
    }
    for name, tensors in odd.items():
        module = nn.Linear(3, 2)
        before = {key: value.clone() for key, value in module.state_dict().items()}
        with pytest.raises(RunError, match=f"tensor {name} ") as raised:
            checkpoint.load_module(module, tensors, Path("model.safetensors"))
        assert raised.value.where == Path("model.safetensors")
        assert_same_tensors(module.state_dict(), before)
