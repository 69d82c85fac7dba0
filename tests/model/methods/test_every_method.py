"""What holds for every method of the registry."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode

from emodna.model.batch import Batch, LabelledBatch
from emodna.model.config import apply_settings
from emodna.model.errors import ConfigError
from emodna.model.methods import METHODS, method
from emodna.model.methods.base import Method
from tests.model.small import assert_same_tensors, batches

DIM = 6
STEP = torch.tensor(0)
Pair = tuple[LabelledBatch, Batch]

every_method = pytest.mark.parametrize("kind", METHODS.values(), ids=METHODS.keys())


def small(kind: type[Method], seed: int = 0, **settings: Any) -> Method:
    """A method with narrow networks, in training mode."""
    made: Method = kind(DIM, dataclasses.replace(kind.defaults, channels=8, **settings), seed)
    return made.train()


def losses(model: Method, pair: Pair, seed: int = 0) -> dict[str, Tensor]:
    """Terms of a step whose dropout is decided by the seed."""
    torch.manual_seed(seed)
    return model.losses(*pair, STEP)


def gradients(model: Method, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gradient of the sum of the terms for each parameter."""
    model.zero_grad(set_to_none=True)
    torch.stack(list(terms.values())).sum().backward()
    missing = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not missing
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


@every_method
class TestRegistration:
    def test_is_found_by_its_name(self, kind: type[Method]) -> None:
        assert method(kind.name) is kind
        assert METHODS[kind.name] is kind

    def test_says_where_it_comes_from(self, kind: type[Method]) -> None:
        assert kind.reference.strip()
        assert "\n" not in kind.reference
        assert kind.__doc__

    def test_has_a_frozen_configuration_that_settings_can_reach(self, kind: type[Method]) -> None:
        defaults = kind.defaults
        assert dataclasses.is_dataclass(defaults)
        field = dataclasses.fields(defaults)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(defaults, field, 1)
        as_text = {key: str(value) for key, value in dataclasses.asdict(defaults).items()}
        assert apply_settings(as_text, defaults) == (defaults,)


def test_unknown_method_lists_the_valid_ones() -> None:
    with pytest.raises(ConfigError, match=r"--method emodna: unknown; valid: emo-dna, source-only"):
        method("emodna")


@every_method
class TestLosses:
    def test_are_named_finite_scalars(self, kind: type[Method]) -> None:
        terms = losses(small(kind), batches())
        assert terms
        for name, term in terms.items():
            assert name.isidentifier()
            assert term.shape == ()
            assert term.dtype == torch.float32
            assert term.isfinite()
            assert term.requires_grad

    def test_gradients_reach_every_parameter(self, kind: type[Method]) -> None:
        model = small(kind, dropout=0.0)
        found = gradients(model, losses(model, batches()))
        for name, gradient in found.items():
            assert gradient.isfinite().all(), name
            assert gradient.any(), name

    def test_are_the_same_for_the_same_seeds(self, kind: type[Method]) -> None:
        assert_same_tensors(losses(small(kind), batches()), losses(small(kind), batches()))

    def test_take_batches_of_unequal_size(self, kind: type[Method]) -> None:
        for sizes in ((8, 5), (3, 8)):
            assert all(term.isfinite() for term in losses(small(kind), batches(*sizes)).values())

    def test_neither_wait_for_the_device_nor_have_shapes_that_depend_on_data(self, kind: type[Method]) -> None:
        model, (source, target) = small(kind), batches()
        # Fake tensors hold no data: .item(), bool() and boolean indexing raise. So does whatever asks for a number.
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            fakes = [
                type(batch)(**{f.name: mode.from_tensor(getattr(batch, f.name)) for f in dataclasses.fields(batch)})
                for batch in (source, target)
            ]
            terms = model.losses(*fakes, mode.from_tensor(STEP))
            monitored = model.monitor()
        assert all(term.shape == () for term in [*terms.values(), *monitored.values()])

    def test_leave_the_batch_alone(self, kind: type[Method]) -> None:
        pair, untouched = batches(), batches()
        losses(small(kind), pair)
        for batch, before in zip(pair, untouched, strict=True):
            for field in dataclasses.fields(batch):
                assert torch.equal(getattr(batch, field.name), getattr(before, field.name))


def alike(pair: Pair, value: float) -> Pair:
    """The same batches with one value for all features."""
    source, target = (dataclasses.replace(each, features=torch.full_like(each.features, value)) for each in pair)
    return source, target


@every_method
class TestDegenerateBatches:
    @pytest.mark.parametrize(
        "pair",
        [
            pytest.param(alike(batches(), 0.0), id="all features zero"),
            pytest.param(alike(batches(), 3.0), id="all features equal"),
            pytest.param(alike(batches(), -1e4), id="all features equal and far away"),
            pytest.param(batches(labels=[1] * 8), id="only class 1"),
            pytest.param(batches(labels=[0] * 8), id="only class 0"),
            pytest.param(batches(labels=[0] * 7 + [1]), id="one of class 1"),
            pytest.param(batches(2, 2), id="two utterances"),
            pytest.param(batches(frames=8), id="one step after the pools"),
        ],
    )
    def test_are_finite_with_finite_gradients(self, kind: type[Method], pair: Pair) -> None:
        model = small(kind)
        terms = losses(model, pair)
        assert {name: value.item() for name, value in terms.items() if not value.isfinite()} == {}
        broken = [name for name, gradient in gradients(model, terms).items() if not gradient.isfinite().all()]
        assert not broken

    def test_collapsed_networks_are_finite_with_finite_gradients(self, kind: type[Method]) -> None:
        model = small(kind)
        for parameter in model.parameters():
            nn.init.zeros_(parameter)
        terms = losses(model, batches())
        assert all(term.isfinite() for term in terms.values())
        assert all(gradient.isfinite().all() for gradient in gradients(model, terms).values())


@every_method
class TestPrediction:
    def test_is_two_finite_logits_per_utterance(self, kind: type[Method]) -> None:
        source, _ = batches(5)
        logits = small(kind).eval().predict(source.features, source.lengths)
        assert logits.shape == (5, 2)
        assert logits.isfinite().all()

    def test_does_not_depend_on_the_rest_of_the_batch(self, kind: type[Method]) -> None:
        model, (source, _) = small(kind).eval(), batches(5)
        together = model.predict(source.features, source.lengths)
        for row in range(5):
            alone = model.predict(source.features[row : row + 1], source.lengths[row : row + 1])
            torch.testing.assert_close(alone[0], together[row])

    def test_survives_a_round_trip_of_the_state(self, kind: type[Method]) -> None:
        model, other, pair = small(kind, seed=1), small(kind, seed=2), batches()
        losses(model, pair)  # moves the statistics of batch norm
        other.load_state_dict(model.state_dict())
        inputs = pair[0].features, pair[0].lengths
        assert torch.equal(model.eval().predict(*inputs), other.eval().predict(*inputs))
        model.train()
        other.train()
        assert_same_tensors(losses(model, pair), losses(other, pair))


@every_method
class TestSeeds:
    def test_decide_the_initial_weights(self, kind: type[Method]) -> None:
        first, again, other = (small(kind, seed).state_dict() for seed in (3, 3, 4))
        assert_same_tensors(first, again)
        assert any(not torch.equal(first[name], other[name]) for name in first)

    def test_are_the_only_thing_that_decides_them(self, kind: type[Method]) -> None:
        torch.manual_seed(1)
        before = torch.get_rng_state()
        first = small(kind)
        assert torch.equal(torch.get_rng_state(), before)
        torch.manual_seed(2)
        assert_same_tensors(first.state_dict(), small(kind).state_dict())
