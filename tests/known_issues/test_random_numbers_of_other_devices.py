"""Making a network reseeded the generators of every CUDA device, which nothing restored."""

from __future__ import annotations

import pytest
import torch

from emodna.model.reproducibility import seeded


def test_drawing_parameters_touches_the_generator_of_the_cpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_seed: int) -> None:
        raise AssertionError("seeds every device")

    monkeypatch.setattr(torch, "manual_seed", refuse)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", refuse)
    before = torch.get_rng_state()
    with seeded(0, "a network"):
        first = torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before)
    with seeded(0, "a network"):
        assert torch.equal(torch.rand(3), first)
