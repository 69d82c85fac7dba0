"""Ctrl-C threw away what had been trained since the last checkpoint: up to 30 s, or all of a short run."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from emodna.model import checkpoint
from emodna.model.fit import fit
from emodna.model.request import FitRequest
from emodna.model.run_folder import RunFolder
from emodna.pipeline.store import FeatureStore
from tests.model.small import SETTINGS, Silent


def test_a_wish_to_stop_leaves_a_checkpoint_of_that_step_and_the_same_end(
    ravdess_store: Path, emodb_store: Path, tmp_path: Path
) -> None:
    source, target = FeatureStore(ravdess_store), FeatureStore(emodb_store)
    settings = {**SETTINGS, "checkpoint_seconds": "1000"}

    def request(name: str) -> FitRequest:
        return FitRequest([source], target, steps=6, threads=1, settings=settings, out=tmp_path / name, resume=True)

    asked = iter([False, False, True])
    with pytest.raises(KeyboardInterrupt):
        fit(request("stopped"), Silent(), lambda: nullcontext(lambda: next(asked)))
    assert checkpoint.load_tensors(RunFolder(tmp_path / "stopped").resume)[1]["step"] == 3

    fit(request("stopped"), Silent())
    fit(request("whole"), Silent())
    models = [RunFolder(tmp_path / name).model.read_bytes() for name in ("stopped", "whole")]
    assert models[0] == models[1]
