"""CAAM: objective and optimiser."""

import dataclasses
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from emodna.model.checkpoint import load_tensors
from emodna.model.config import TrainConfig
from emodna.model.methods.caam import Caam
from emodna.model.networks.capsules import MIN_SIZE
from emodna.model.run_folder import read_json
from emodna.model.training.state import make_optimizers
from tests.model.small import Stores, fit_small, make_batches

PAIR = make_batches(dim=MIN_SIZE, frames=MIN_SIZE)
INPUTS = torch.cat([each.features for each in PAIR])


def small(**settings: Any) -> Caam:
    """Return a narrow CAAM without dropout."""
    return Caam(MIN_SIZE, dataclasses.replace(Caam.defaults, channels=8, dropout=0.0, **settings), 0).train()


class TestObjective:
    def test_terms_equal_the_authors_equations(self) -> None:
        method = small(margin=1.6)
        z = method.encoder(17 * INPUTS)
        task, adversary = (head[1](F.relu(z)).softmax(1) for head in (method.task, method.adversary))
        p = task.detach()
        emotion = -task[:8].log().gather(1, PAIR[0].labels.unsqueeze(1)).mean()
        of_source = -(p[:8] * adversary[:8].log()).sum(1).mean()
        of_target = -(p[8:] * (1 - adversary[8:]).log()).sum(1).mean()
        terms = method.losses(*PAIR, torch.tensor(0))
        torch.testing.assert_close(terms["emotion"], emotion)
        torch.testing.assert_close(terms["disparity"], 1.6 * of_source + of_target)

    def test_reversal_depends_on_steps_and_not_on_shares(self) -> None:
        # lambda = 2 / (1 + exp(-i / 1000)) - 1 for any length of training.
        gradients = {}
        for step, steps in ((360, 400), (360, 10_000), (5000, 10_000)):
            method = small(input_scale=100.0)
            method.steps = steps
            method.losses(*PAIR, torch.tensor(step))["disparity"].backward()
            gradients[step, steps] = method.encoder.routed.weight.grad
        early, late = gradients[360, 400], gradients[5000, 10_000]
        assert torch.equal(early, gradients[360, 10_000])
        torch.testing.assert_close(early / 0.17808, late / 0.98661, rtol=1e-3, atol=1e-9)


class TestOptimiser:
    def test_defaults_equal_the_authors(self) -> None:
        (optimizer,) = make_optimizers(small().parameter_groups(), TrainConfig()).values()
        assert isinstance(optimizer, torch.optim.Adam)
        assert optimizer.defaults["betas"] == (0.975, 0.935)
        assert optimizer.defaults["lr"] == 1e-3
        assert optimizer.defaults["eps"] == 1e-8

    def test_learning_rate_and_betas_are_settings(self, pair: Stores, tmp_path: Path) -> None:
        settings = {"learning_rate": "0.5", "beta1": "0.25", "beta2": "0.75"}
        fit_small(*pair, tmp_path / "run", method="caam", steps=1, settings=settings)
        fit_small(*pair, tmp_path / "usual", method="caam", steps=1)
        config = read_json(tmp_path / "run" / "config.json")["decisive"]
        for each in (config["train"], config["method_config"]):
            assert (each["beta1"], each["beta2"]) == (0.25, 0.75)
        states = [load_tensors(tmp_path / run / "resume.safetensors")[0] for run in ("run", "usual")]
        # After one step, Adam's mean of gradients is (1 - beta1) times the gradient.
        mine, usual = (state["optimizer.task.1.weight.exp_avg"] for state in states)
        torch.testing.assert_close(mine / 0.75, usual / 0.025)
