"""Past bugs of runs and their folders, and of the start of a preparation."""

from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from emodna.model import checkpoint
from emodna.model.errors import RunError
from emodna.model.fit import fit
from emodna.model.reproducibility import use_seed
from emodna.model.request import FitRequest
from emodna.model.run_folder import RunFolder
from emodna.pipeline.store import FeatureStore
from tests.model.small import SETTINGS, SilentCallback

CONFIG = {"decisive": {"seed": 0}}


def test_a_second_process_cannot_train_the_same_run(tmp_path: Path) -> None:
    """Both processes wrote to the log and overwrote each other's checkpoints."""
    run = RunFolder(tmp_path / "run")
    with (
        run.claim(CONFIG, resume=True),
        pytest.raises(RunError, match="another process"),
        RunFolder(tmp_path / "run").claim(CONFIG, resume=True),
    ):
        pass
    with run.claim(CONFIG, resume=True):
        pass


def test_a_run_does_not_start_in_a_folder_with_other_files(tmp_path: Path) -> None:
    """A run started in a folder with other files."""
    (tmp_path / "thesis.tex").write_text("irreplaceable")
    with pytest.raises(RunError), RunFolder(tmp_path).claim(CONFIG, resume=False):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_ctrl_c_saves_a_checkpoint_of_the_current_step(ravdess_store: Path, emodb_store: Path, tmp_path: Path) -> None:
    """Ctrl-C lost the steps since the last checkpoint: up to 30 s, or a whole short run."""
    source, target = FeatureStore(ravdess_store), FeatureStore(emodb_store)
    settings = {**SETTINGS, "checkpoint_seconds": "1000"}

    def request(name: str) -> FitRequest:
        return FitRequest([source], target, steps=6, threads=1, settings=settings, out=tmp_path / name, resume=True)

    stop_requests = iter([False, False, True])
    with pytest.raises(KeyboardInterrupt):
        fit(request("stopped"), SilentCallback(), lambda: nullcontext(lambda: next(stop_requests)))
    assert checkpoint.load_tensors(RunFolder(tmp_path / "stopped").resume)[1]["step"] == 3

    fit(request("stopped"), SilentCallback())
    fit(request("whole"), SilentCallback())
    models = [RunFolder(tmp_path / name).model.read_bytes() for name in ("stopped", "whole")]
    assert models[0] == models[1]


def test_making_a_network_does_not_reseed_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making a network reseeded the generators of every CUDA device, and nothing restored them."""

    def refuse(_seed: int) -> None:
        raise AssertionError("seeds every device")

    monkeypatch.setattr(torch, "manual_seed", refuse)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", refuse)
    before = torch.get_rng_state()
    with use_seed(0, "a network"):
        first = torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before)
    with use_seed(0, "a network"):
        assert torch.equal(torch.rand(3), first)


def test_a_preparation_with_nothing_to_do_loads_no_heavy_library() -> None:
    """Segmentation made every preparation load scipy: one with nothing to do took 1.5 times as long."""
    heavy = {"scipy", "torch", "librosa", "dask", "pooch"}
    code = f"import sys, emodna.pipeline.prepare.preparation; print(*{heavy} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert loaded.split() == []
