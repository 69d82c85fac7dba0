"""ADDi: turns, encoders, and the optimum of the discriminators."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from emodna.model.config import TrainConfig
from emodna.model.errors import ConfigError
from emodna.model.methods.addi import DISCRIMINATORS, ENCODER, Addi, AddiConfig
from emodna.model.methods.base import Method, Phase
from emodna.model.methods.saddi import SaddiConfig
from emodna.model.training.loop import Update
from emodna.model.training.state import make_optimizers
from tests.model.methods.test_every_method import Pair, losses, small
from tests.model.small import make_batches

CPU = torch.device("cpu")


def train_steps(
    model: Method, pair: Pair, *, steps: int = 3, phase: Phase | None = None, learning_rate: float = 1e-3
) -> dict[str, Tensor]:
    """Train some steps and return the terms of the last one."""
    torch.manual_seed(0)
    config = TrainConfig(learning_rate=learning_rate)
    update = Update(model, make_optimizers(model.parameter_groups(), config), CPU)
    for _ in range(steps):
        terms = update(*pair, phase or model.phases[0])
    return terms


def find_changed(model: Method, pair: Pair, phase: Phase) -> set[str]:
    """Return the names of the tensors that one step changes."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    train_steps(model, pair, steps=1, phase=phase)
    return {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}


def select_part(part: str, names: set[str]) -> set[str]:
    return {name for name in names if name.startswith(part)}


class TestTurns:
    @pytest.mark.parametrize("encoder", ["conv-blstm", "shared"])
    def test_turn_of_the_encoder_changes_only_the_network(self, encoder: str) -> None:
        names = find_changed(small(Addi, encoder=encoder), make_batches(), Phase(turns=(ENCODER,)))
        assert names
        assert names == select_part("network.", names)

    def test_turn_of_the_discriminators_changes_only_them(self) -> None:
        both, of_encoder = (
            find_changed(small(Addi), make_batches(), Phase(turns=turns))
            for turns in ((ENCODER, DISCRIMINATORS), (ENCODER,))
        )
        assert both - of_encoder == {name for name, _ in small(Addi).named_parameters() if "discriminators" in name}

    def test_both_turns_share_one_pass(self) -> None:
        states = []
        for turns in ((ENCODER,), (ENCODER, DISCRIMINATORS)):
            model = small(Addi)
            train_steps(model, make_batches(), steps=2, phase=Phase(turns=turns))
            states.append((model.network.backbone[1].num_batches_tracked.item(), torch.rand(1).item()))
        assert states[0] == states[1]
        assert states[0][0] == 2

    def test_terms_of_both_turns_are_opposite(self) -> None:
        terms = losses(small(Addi, adversarial_weight=0.25), make_batches())
        assert list(terms) == ["emotion", "adversarial", "discriminators"]
        torch.testing.assert_close(terms["adversarial"], -0.25 * terms["discriminators"])

    def test_discriminators_have_their_own_optimiser(self) -> None:
        usual = make_optimizers(small(Addi).parameter_groups(), TrainConfig())["discriminators"]
        assert isinstance(usual, torch.optim.Adam)
        assert (usual.param_groups[0]["lr"], usual.param_groups[0]["betas"]) == (2e-4, (0.5, 0.999))
        settings = {"discriminator_optimizer": "radam", "discriminator_learning_rate": 0.5, "discriminator_beta1": 0.1}
        other = make_optimizers(small(Addi, **settings).parameter_groups(), TrainConfig())["discriminators"]
        assert isinstance(other, torch.optim.RAdam)
        assert (other.param_groups[0]["lr"], other.param_groups[0]["betas"]) == (0.5, (0.1, 0.999))


class TestOptimum:
    """J after training of the discriminators against a fixed encoder."""

    def compute_j(self, pair: Pair) -> float:
        model = small(Addi, dropout=0.0, discriminator_learning_rate=0.01)
        train_steps(model, pair, steps=1, phase=Phase(turns=(ENCODER,)))
        terms = train_steps(model, pair, steps=200, phase=Phase(turns=(DISCRIMINATORS,)))
        return -terms["discriminators"].item()

    def test_optimum_is_minus_2_for_equal_corpora_and_larger_for_others(self) -> None:
        source, target = make_batches()
        same = dataclasses.replace(target, features=source.features)
        assert self.compute_j((source, same)) == pytest.approx(-2, abs=1e-3)
        assert self.compute_j((source, target)) > -1.5


class TestSettings:
    @pytest.mark.parametrize("config", [AddiConfig, SaddiConfig])
    @pytest.mark.parametrize("key", [{"tcn_blocks": 3}, {"tcn_pooling": "last"}])
    def test_settings_of_the_tcn_need_a_tcn(self, key: dict[str, Any], config: type[AddiConfig]) -> None:
        ((name, value),) = key.items()
        with pytest.raises(ConfigError, match="needs encoder=shared") as raised:
            config(**key)
        assert (raised.value.field, raised.value.value) == (name, value)
        assert getattr(config(encoder="shared", **key), name) == value
