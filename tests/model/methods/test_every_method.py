"""The contract of every method of the registry, under every reading of the paper that its settings offer.

Per push three methods are tested; all of them, and every reading, by `make test-all`.
"""

import dataclasses
import json
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode

from emodna.model.checkpoint import load_tensors
from emodna.model.config import apply_settings
from emodna.model.data.batch import Batch, LabelledBatch
from emodna.model.methods import METHODS, get_method
from emodna.model.methods.alignment import AlignmentConfig, list_additions
from emodna.model.methods.base import AdaptationConfig, Method
from emodna.model.methods.caam import Caam
from emodna.model.methods.difl import Difl
from emodna.model.methods.upper_bound import UpperBound
from emodna.pipeline.store import FeatureStore
from tests.model.small import REPRESENTATIVE, WITH_CODE, Stores, assert_same_tensors, fit_small, make_batches

STEP = torch.tensor(0)
Pair = tuple[LabelledBatch, Batch]
Added = tuple[tuple[str, str], ...]


def readings() -> Iterator[type[Method]]:
    """Each method under other settings, so few that they come to every word that a setting knows.

    The first takes the first word of each setting that is not its default, the second the second, if there is one.
    """
    seen: list[type[Method]] = []
    for kind in sorted(METHODS.values(), key=lambda kind: len(kind.__mro__)):
        if any(issubclass(kind, other) and type(kind.defaults) is type(other.defaults) for other in seen):
            continue  # another's settings, with other defaults
        seen.append(kind)
        hints = typing.get_type_hints(type(kind.defaults)).items()
        usual = {key: getattr(kind.defaults, key) for key, hint in hints if typing.get_origin(hint) is Literal}
        others = {key: [w for w in typing.get_args(dict(hints)[key]) if w != usual[key]] for key in usual}
        # A flag is raised in the second, beside the usual words of those settings that have only two.
        others |= {
            key: [value, not value] for key, value in dataclasses.asdict(kind.defaults).items() if value is False
        }
        for number in range(max(map(len, others.values()), default=0)):
            changed = {key: words[number] for key, words in others.items() if number < len(words)}
            defaults = dataclasses.replace(kind.defaults, **changed)
            yield type(f"{kind.name}, reading {number + 1}", (kind,), {"defaults": defaults})


def by_method(kinds: Mapping[str, type[Method]]) -> pytest.MarkDecorator:
    """Parametrise by methods, of which most are slow together."""
    return pytest.mark.parametrize(
        "kind",
        [
            pytest.param(kind, id=name, marks=() if name in REPRESENTATIVE else pytest.mark.slow)
            for name, kind in kinds.items()
        ],
    )


EVERY_READING = {**METHODS, **{kind.__name__: kind for kind in readings()}}
every_method, every_reading = by_method(METHODS), by_method(EVERY_READING)


def small(kind: type[Method], seed: int = 0, **settings: Any) -> Method:
    """A method with narrow networks, in training mode."""
    made: Method = kind(dim_of(kind), dataclasses.replace(kind.defaults, channels=8, **settings), seed)
    return made.train()


def dim_of(kind: type[Method]) -> int:
    """Values per frame of small inputs that the method can read."""
    return max(6, kind.min_dim)


def batches_for(kind: type[Method], *sizes: int, **like: Any) -> Pair:
    """Batches as `make_batches` makes them, large enough for the method's networks."""
    frames = max(like.pop("frames", 32), kind.min_frames)
    return make_batches(*sizes, dim=dim_of(kind), frames=frames, **like)


def folds(kind: type[Method]) -> int:
    """Number of networks that share a labelled batch: those of a method that is cross-validated."""
    return getattr(kind.defaults, "folds", 1)


def losses(model: Method, pair: Pair, seed: int = 0, step: Tensor = STEP) -> dict[str, Tensor]:
    """Terms of a step, of all phases and turns, whose dropout is decided by the seed."""
    torch.manual_seed(seed)
    terms: dict[str, Tensor] = {}
    every_group = tuple(group.name for group in model.parameter_groups())
    for phase in model.phases:
        model.phase = phase.name
        for model.turn in phase.turns or (every_group,):
            terms |= model.losses(*pair, step)
    return terms


def gradients(model: Method, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gradient of the sum of the terms for each parameter."""
    model.zero_grad(set_to_none=True)
    torch.stack(list(terms.values())).sum().backward()
    missing = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not missing
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("kind", METHODS.values(), ids=METHODS.keys())
def test_is_found_and_described_and_its_settings_can_be_reached(kind: type[Method]) -> None:
    assert get_method(kind.name) is METHODS[kind.name] is kind
    assert kind.reference.strip()
    assert "\n" not in kind.reference
    assert kind.__doc__
    defaults = kind.defaults
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(defaults, dataclasses.fields(defaults)[0].name, 1)
    as_text = {key: json.dumps(value) for key, value in dataclasses.asdict(defaults).items()}
    assert apply_settings(as_text, defaults) == (defaults,)


@pytest.mark.parametrize(
    "kind",
    [pytest.param(k, id=name, marks=() if name in METHODS else pytest.mark.slow) for name, k in EVERY_READING.items()],
)
def test_terms_are_finite_scalars_whose_gradients_reach_every_parameter(kind: type[Method]) -> None:
    # At the paper's temperature of 0.01 the decoupling loss of a new network is all but 0, and so is its gradient.
    temperature = {"prototype_temperature": 1.0} if hasattr(kind.defaults, "prototype_temperature") else {}
    model = small(kind, dropout=0.0, **temperature)
    terms = losses(model, batches_for(kind))
    assert terms
    for name, term in terms.items():
        assert name.isidentifier()
        assert term.shape == ()
        assert term.dtype == torch.float32
        assert term.isfinite()
        assert term.requires_grad
    for name, gradient in gradients(model, terms).items():
        assert gradient.isfinite().all(), name
        assert gradient.any(), name


@every_reading
class TestLosses:
    def test_take_batches_of_unequal_size(self, kind: type[Method]) -> None:
        for sizes in ((8, 5), (3, 8)):
            if getattr(kind.defaults, "mmd_estimator", "").startswith("linear"):
                continue  # which needs as many source as target samples
            pair = batches_for(kind, folds(kind) * sizes[0], sizes[1])
            assert all(term.isfinite() for term in losses(small(kind), pair).values())

    def test_neither_wait_for_the_device_nor_have_shapes_that_depend_on_data(self, kind: type[Method]) -> None:
        model, (source, target) = small(kind), batches_for(kind)
        # Fake tensors hold no data: .item(), bool() and boolean indexing raise. So does whatever asks for a number.
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            fakes = [
                type(batch)(**{name: mode.from_tensor(tensor) for name, tensor in batch.tensors.items()})
                for batch in (source, target)
            ]
            terms = losses(model, (fakes[0], fakes[1]), step=mode.from_tensor(STEP))
            monitored = model.monitor()
        assert all(term.shape == () for term in [*terms.values(), *monitored.values()])


def alike(pair: Pair, value: float) -> Pair:
    """The same batches with one value for all features."""
    source, target = (dataclasses.replace(each, features=torch.full_like(each.features, value)) for each in pair)
    return source, target


DEGENERATE: dict[str, dict[str, Any]] = {
    "all features zero": {"value": 0.0},
    "all features equal": {"value": 3.0},
    "all features equal and far away": {"value": -1e4},
    "only class 1": {"labels": [1] * 8},
    "only class 0": {"labels": [0] * 8},
    "one of class 1": {"labels": [0] * 7 + [1]},
    "two utterances": {"each": 2},
    "as short as can be": {"frames": 8},
    "collapsed network": {},
}


@every_reading
def test_degenerate_batches_have_finite_terms_and_gradients(kind: type[Method]) -> None:
    for case, like in DEGENERATE.items():
        value, each = like.get("value"), like.get("each")
        sizes = () if each is None else (folds(kind) * each, each)
        pair = batches_for(kind, *sizes, **{key: like[key] for key in ("labels", "frames") if key in like})
        if value is not None:
            pair = alike(pair, value)
        model = small(kind)
        if not like:
            for parameter in model.parameters():
                nn.init.zeros_(parameter)
        terms = losses(model, pair)
        assert {name: value.item() for name, value in terms.items() if not value.isfinite()} == {}, case
        broken = [name for name, gradient in gradients(model, terms).items() if not gradient.isfinite().all()]
        assert not broken, case


@every_method
def test_prediction_is_two_finite_logits_that_do_not_depend_on_the_rest_of_the_batch(kind: type[Method]) -> None:
    model, (source, _) = small(kind).eval(), batches_for(kind, 5)
    together = model.predict(source.features, source.lengths)
    assert together.shape == (5, 2)
    assert together.isfinite().all()
    for row in range(5):
        alone = model.predict(source.features[row : row + 1], source.lengths[row : row + 1])
        torch.testing.assert_close(alone[0], together[row])


@every_reading
def test_embedding_is_what_the_classifier_reads(kind: type[Method]) -> None:
    model, (source, _) = small(kind).eval(), batches_for(kind, 5)
    inputs = source.features, source.lengths
    found = model.embed(*inputs)
    if issubclass(kind, UpperBound):  # its networks have no space in common
        assert found is None
        return
    assert found is not None
    assert found.shape[0] == 5
    assert found.ndim == 2
    assert found.isfinite().all()
    if isinstance(model, Caam):
        classifier = model.task
    else:
        classifier = (model if isinstance(model, Difl) else model.network).classifier
    assert torch.equal(classifier(found), model.predict(*inputs))


def adapting() -> Iterator[Any]:
    """Give the methods that can pass the target through the shared network, and those with L_SCL added.

    One of several phases does not spend all steps on what Source Only does. Where all terms weigh nothing, a method
    that is another one with other weights is that one.
    """
    for kind in map(METHODS.__getitem__, WITH_CODE):
        if isinstance(kind.defaults, AdaptationConfig) and len(kind.phases) == 1:
            yield pytest.param(kind, (), id=kind.name, marks=() if kind.name in REPRESENTATIVE else pytest.mark.slow)
            if isinstance(kind.defaults, AlignmentConfig):
                yield pytest.param(kind, (("add", "scl"),), id=f"{kind.name} --add scl", marks=pytest.mark.slow)


@pytest.fixture(scope="module")
def floor(source: FeatureStore, target: FeatureStore, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """The model of Source Only."""
    out = tmp_path_factory.mktemp("floor") / "run"
    fit_small(source, target, out, method="source-only")
    return load_tensors(out / "model.safetensors")[0]


@pytest.mark.parametrize(("kind", "added"), list(adapting()))
def test_without_transfer_terms_the_shared_network_is_that_of_source_only(
    kind: type[Method], added: Added, pair: Stores, floor: dict[str, Tensor], tmp_path: Path
) -> None:
    weights = {field.name for field in dataclasses.fields(kind.defaults) if field.name.endswith("_weight")}
    if isinstance(kind.defaults, AlignmentConfig) and not added:
        weights -= {"scl_weight"}
    settings = {**dict.fromkeys(weights, "0"), **dict(added)}
    if hasattr(kind.defaults, "encoder"):
        settings["encoder"] = "shared"
    differing = {}
    for mode in ("source", "separate", "concat"):
        fit_small(*pair, tmp_path / mode, method=kind.name, settings={**settings, "batch_norm": mode})
        mine = load_tensors(tmp_path / mode / "model.safetensors")[0]
        differing[mode] = {name for name in floor if not torch.equal(mine[name], floor[name])}
    assert differing["source"] == set()
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    assert differing["separate"] == {name for name in floor if name.endswith(statistics)}
    assert "method.network.classifier.weight" in differing["concat"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", [kind for kind in METHODS.values() if list_additions(kind)], ids=lambda kind: kind.name
)
def test_an_added_term_leaves_the_others_of_the_first_step(kind: type[Method]) -> None:
    plain, added = (small(kind, add=word) for word in ("none", "scl"))
    assert_same_tensors(plain.state_dict(), {name: added.state_dict()[name] for name in plain.state_dict()})
    before, after = (losses(each, batches_for(kind)) for each in (plain, added))
    assert after.pop("scl") > 0
    assert_same_tensors(before, after)


@every_method
def test_the_seed_and_nothing_else_decides_the_initial_weights(kind: type[Method]) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = small(kind, 3).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert_same_tensors(first, small(kind, 3).state_dict())
    other = small(kind, 4).state_dict()
    assert any(not torch.equal(first[name], other[name]) for name in first)
