"""ADDi: whose turn moves what, what the encoder is, and what the discriminators find at their best."""

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
    """Take steps; return the terms of the last one."""
    torch.manual_seed(0)
    config = TrainConfig(learning_rate=learning_rate)
    update = Update(model, make_optimizers(model.parameter_groups(), config), CPU)
    for _ in range(steps):
        terms = update(*pair, phase or model.phases[0])
    return terms


def find_changed(model: Method, pair: Pair, phase: Phase) -> set[str]:
    """Names of what one step changes."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    train_steps(model, pair, steps=1, phase=phase)
    return {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}


def select_part(part: str, names: set[str]) -> set[str]:
    return {name for name in names if name.startswith(part)}


class TestTurns:
    @pytest.mark.parametrize("encoder", ["conv-blstm", "shared"])
    def test_the_encoder_s_leaves_the_discriminators_alone(self, encoder: str) -> None:
        names = find_changed(small(Addi, encoder=encoder), make_batches(), Phase(turns=(ENCODER,)))
        assert names
        assert names == select_part("network.", names)

    def test_the_discriminators_moves_nothing_but_them_not_even_running_statistics(self) -> None:
        both, encoder_s = (
            find_changed(small(Addi), make_batches(), Phase(turns=turns))
            for turns in ((ENCODER, DISCRIMINATORS), (ENCODER,))
        )
        assert both - encoder_s == {name for name, _ in small(Addi).named_parameters() if "discriminators" in name}

    def test_batch_norm_sees_a_step_once_and_dropout_draws_once(self) -> None:
        counted = []
        for turns in ((ENCODER,), (ENCODER, DISCRIMINATORS)):
            model = small(Addi)
            train_steps(model, make_batches(), steps=2, phase=Phase(turns=turns))
            counted.append((model.network.backbone[1].num_batches_tracked.item(), torch.rand(1).item()))
        assert counted[0] == counted[1]
        assert counted[0][0] == 2

    def test_terms_pull_in_opposite_directions(self) -> None:
        terms = losses(small(Addi, adversarial_weight=0.25), make_batches())
        assert list(terms) == ["emotion", "adversarial", "discriminators"]
        torch.testing.assert_close(terms["adversarial"], -0.25 * terms["discriminators"])

    def test_the_discriminators_have_an_optimiser_of_their_own(self) -> None:
        usual = make_optimizers(small(Addi).parameter_groups(), TrainConfig())["discriminators"]
        assert isinstance(usual, torch.optim.Adam)
        assert (usual.param_groups[0]["lr"], usual.param_groups[0]["betas"]) == (2e-4, (0.5, 0.999))
        settings = {"discriminator_optimizer": "radam", "discriminator_learning_rate": 0.5, "discriminator_beta1": 0.1}
        other = make_optimizers(small(Addi, **settings).parameter_groups(), TrainConfig())["discriminators"]
        assert isinstance(other, torch.optim.RAdam)
        assert (other.param_groups[0]["lr"], other.param_groups[0]["betas"]) == (0.5, (0.1, 0.999))


class TestAtTheirBest:
    """What the discriminators say once they have learned as much as they can of an encoder that stands still."""

    def value(self, pair: Pair) -> float:
        model = small(Addi, dropout=0.0, discriminator_learning_rate=0.01)
        train_steps(model, pair, steps=1, phase=Phase(turns=(ENCODER,)))
        terms = train_steps(model, pair, steps=200, phase=Phase(turns=(DISCRIMINATORS,)))
        return -terms["discriminators"].item()

    def test_is_minus_two_of_the_same_utterances_and_more_of_others(self) -> None:
        source, target = make_batches()
        same = dataclasses.replace(target, features=source.features)
        assert self.value((source, same)) == pytest.approx(-2, abs=1e-3)
        assert self.value((source, target)) > -1.5


class TestSettings:
    @pytest.mark.parametrize("config", [AddiConfig, SaddiConfig])
    @pytest.mark.parametrize("key", [{"tcn_blocks": 3}, {"tcn_pooling": "last"}])
    def test_of_a_tcn_need_one(self, key: dict[str, Any], config: type[AddiConfig]) -> None:
        ((name, value),) = key.items()
        with pytest.raises(ConfigError, match="needs encoder=shared") as refused:
            config(**key)
        assert (refused.value.field, refused.value.value) == (name, value)
        assert getattr(config(encoder="shared", **key), name) == value
