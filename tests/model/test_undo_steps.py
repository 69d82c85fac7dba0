"""Undone steps leave no trace, as the warm-up of a CUDA graph requires; tested on the CPU."""

import pytest
import torch
from torch import Tensor

from emodna.model.config import TrainConfig
from emodna.model.methods.base import Method, Phase
from emodna.model.training.loop import Update
from emodna.model.training.state import get_optimizer_tensors, make_optimizers
from tests.model.methods.test_every_method import batches_for, small
from tests.model.small import STEPPED, assert_same_tensors, quick_if_representative

each_method = pytest.mark.parametrize("name", quick_if_representative(STEPPED))


class Training:
    """A method with its optimisers and its updates."""

    def __init__(self, kind: type[Method]) -> None:
        torch.manual_seed(5)
        self.method, self._kind = small(kind), kind
        self.optimizers = make_optimizers(self.method.parameter_groups(), TrainConfig())
        self.update = Update(self.method, self.optimizers, torch.device("cpu"))

    def take(self, *seeds: int) -> None:
        for seed in seeds:
            self.update(*batches_for(self._kind, seed=seed), Phase())

    def state(self) -> dict[str, Tensor]:
        tensors = {**self.method.state_dict(), **get_optimizer_tensors(self.optimizers, self.method)}
        guard = dict(zip(("step", "term"), self.update.guard.tensors, strict=True))
        return {name: t.clone() for name, t in {**tensors, **guard, "random": torch.get_rng_state()}.items()}


@each_method
@pytest.mark.parametrize("before", [0, 2])
def test_undone_steps_do_not_change_the_next_ones(name: str, before: int) -> None:
    undisturbed, training = Training(STEPPED[name]), Training(STEPPED[name])
    outcomes = []
    for each in (undisturbed, training):
        torch.manual_seed(6)
        each.take(*range(before))
        if each is training:
            with each.update.undo_steps():
                each.take(90, 91, 92)
        each.take(10, 11)
        outcomes.append(each.state())
    assert_same_tensors(*outcomes)


@each_method
def test_values_are_restored_in_place(name: str) -> None:
    training = Training(STEPPED[name])
    training.take(0)
    values, places = training.state(), [t.data_ptr() for t in training.method.state_dict().values()]
    moments = get_optimizer_tensors(training.optimizers, training.method)
    with training.update.undo_steps():
        training.take(90)
        assert not torch.equal(training.state()["random"], values["random"])
    assert_same_tensors(training.state(), values)
    assert [t.data_ptr() for t in training.method.state_dict().values()] == places
    assert all(t is moments[name] for name, t in get_optimizer_tensors(training.optimizers, training.method).items())
    assert all(parameter.grad is None for parameter in training.method.parameters())
