"""Inputs on which training depends, inputs on which it must not depend, and resumed training."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch

from emodna.model.config import TrainConfig
from emodna.model.methods import METHODS
from emodna.model.methods.alignment import AlignmentConfig
from emodna.model.methods.base import Method, find_phase
from emodna.model.training.loop import Update
from emodna.model.training.state import TrainingState, make_optimizers
from tests.model.methods.test_every_method import EVERY_READING, Pair, batches_for, by_method, gradients, losses, small
from tests.model.small import STEPPED, WITH_CODE, assert_same_tensors

CPU = torch.device("cpu")
STEPS = 4
CODE = [METHODS[name] for name in WITH_CODE]
READINGS = [kind for name, kind in EVERY_READING.items() if name in WITH_CODE or name not in STEPPED]


def make_zero_weights(kind: type[Method]) -> dict[str, float]:
    """Return 0 for each weight of a transfer term, without L_SCL if that is an addition."""
    keys = {field.name for field in dataclasses.fields(kind.defaults) if field.name.endswith("_weight")}
    return dict.fromkeys(keys - ({"scl_weight"} if isinstance(kind.defaults, AlignmentConfig) else set()), 0.0)


def by_distinct_method(kinds: Iterable[type[Method]]) -> pytest.MarkDecorator:
    """Parametrise by methods, except those that only differ in their defaults."""
    return by_method({kind.name if kind in CODE else kind.__name__: kind for kind in kinds})


def train(model: Method, pair: Pair, checkpoint: Path, steps: int, until: int) -> Method:
    """Train on one pair of batches until a step, from the checkpoint if it exists, and write a checkpoint."""
    torch.manual_seed(1)
    model.steps = steps
    optimizers = make_optimizers(model.parameter_groups(), TrainConfig())
    state = TrainingState(model, optimizers, CPU)
    done = state.restore(checkpoint, steps)
    update = Update(model, optimizers, CPU, done=done)
    for step in range(done, until):
        update(*pair, find_phase(model.phases, step, steps))
    state.save(checkpoint, until)
    return model


def replace_target(pair: Pair, value: float | None = None) -> Pair:
    """Return the pair with other features of the target: one value, or new random ones."""
    source, target = pair
    generator = torch.Generator().manual_seed(5)
    features = torch.randn(target.features.shape, generator=generator) * 3 - 1
    return source, dataclasses.replace(target, features=features if value is None else torch.full_like(features, value))


# Methods with several phases also learn from unlabelled windows of the target.
@by_distinct_method(kind for kind in CODE if make_zero_weights(kind) and len(kind.phases) == 1)
def test_target_has_an_effect_only_through_transfer_terms(kind: type[Method], tmp_path: Path) -> None:
    alone = {"batch_norm": "source"} if hasattr(kind.defaults, "batch_norm") else {}
    pair, (unseen, _) = batches_for(kind), batches_for(kind, seed=9)
    for same, settings in ((True, make_zero_weights(kind)), (False, {})):
        logits = []
        for number, each in enumerate((pair, replace_target(pair))):
            model = train(small(kind, **alone, **settings), each, tmp_path / f"{same} {number}", 3, 3)
            with torch.no_grad():
                logits.append(model.eval().predict(unseen.features, unseen.lengths))
        assert torch.equal(*logits) == same


@by_distinct_method(kind for kind in CODE if not make_zero_weights(kind))
def test_methods_without_transfer_terms_ignore_the_target(kind: type[Method], tmp_path: Path) -> None:
    pair = batches_for(kind)
    one, other = (
        train(small(kind), each, tmp_path / str(number), 3, 3)
        for number, each in enumerate((pair, replace_target(pair, torch.nan)))
    )
    assert_same_tensors(one.state_dict(), other.state_dict())


@by_distinct_method(CODE)
def test_gradients_depend_on_source_labels(kind: type[Method]) -> None:
    source, target = batches_for(kind)
    permuted = dataclasses.replace(source, labels=source.labels.roll(1))
    model = small(kind, dropout=0.0)
    right, wrong = (gradients(model, losses(model, (each, target))) for each in (source, permuted))
    assert any(not torch.equal(right[name], wrong[name]) for name in right)


@by_distinct_method(READINGS)
def test_checkpoint_holds_the_complete_state(kind: type[Method], tmp_path: Path) -> None:
    # The resumed run uses new objects with other initial weights and random maps.
    pair = batches_for(kind)
    whole = train(small(kind), pair, tmp_path / "whole", STEPS, STEPS)
    for seed, until in enumerate((1, 3, STEPS)):
        interrupted = train(small(kind, seed), pair, tmp_path / "run", STEPS, until)
    assert_same_tensors(interrupted.state_dict(), whole.state_dict())
    assert (tmp_path / "run").read_bytes() == (tmp_path / "whole").read_bytes()
