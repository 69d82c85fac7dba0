"""Contract of every method, under every reading of the paper that its settings offer.

The quick suite tests three methods. `make test-all` tests all of them and every reading.
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
from emodna.model.config import OF_PAPER_NETWORK, TrainConfig, apply_settings
from emodna.model.data.batch import Batch, LabelledBatch
from emodna.model.methods import METHODS, get_method
from emodna.model.methods.alignment import AlignmentConfig, list_additions
from emodna.model.methods.base import EncoderConfig, Method, PaperNetworkConfig, find_phase
from emodna.model.methods.caam import Caam
from emodna.model.methods.difl import Difl
from emodna.model.methods.upper_bound import UpperBound
from emodna.model.networks.passes import evaluation_mode
from emodna.model.training.loop import Update
from emodna.model.training.state import make_optimizers
from emodna.pipeline.store import FeatureStore
from tests.model.small import (
    REPRESENTATIVE,
    STEPPED,
    WITH_CODE,
    Stores,
    assert_same_tensors,
    fit_small,
    make_batches,
    make_noise,
)

STEP = torch.tensor(0)
Pair = tuple[LabelledBatch, Batch]
Added = tuple[tuple[str, str], ...]


def make_readings() -> Iterator[type[Method]]:
    """Yield subclasses of each method whose defaults together use every choice of every setting.

    Reading k uses choice k, not counting the default, of each setting with at least k choices. A method with a choice
    of networks has readings of each.
    """
    seen: list[type[Method]] = []
    for kind in sorted(STEPPED.values(), key=lambda kind: len(kind.__mro__)):
        if any(issubclass(kind, other) and type(kind.defaults) is type(other.defaults) for other in seen):
            continue  # the same settings with other defaults
        seen.append(kind)
        hints = typing.get_type_hints(type(kind.defaults)).items()
        usual = {key: getattr(kind.defaults, key) for key, hint in hints if typing.get_origin(hint) is Literal}
        has_networks = usual.pop("network", None) is not None
        others = {key: [w for w in typing.get_args(dict(hints)[key]) if w != usual[key]] for key in usual}
        # Flags are set in the second reading, in which settings of two choices have their default.
        flags = [key for key, value in dataclasses.asdict(kind.defaults).items() if value is False]
        others |= {key: [False, True] for key in flags}
        for number in range(max(map(len, others.values()), default=0)):
            changed = {key: words[number] for key, words in others.items() if number < len(words)}
            defaults = dataclasses.replace(kind.defaults, **changed)
            yield type(f"{kind.name}, reading {number + 1}", (kind,), {"defaults": defaults})
            if has_networks:
                kept = {key: word for key, word in changed.items() if key not in OF_PAPER_NETWORK}
                defaults = dataclasses.replace(kind.defaults, **kept, network="statistics")
                yield type(f"{kind.name}, statistics, reading {number + 1}", (kind,), {"defaults": defaults})


def by_method(kinds: Mapping[str, type[Method]]) -> pytest.MarkDecorator:
    """Parametrise by methods. All but three are marked slow."""
    return pytest.mark.parametrize(
        "kind",
        [
            pytest.param(kind, id=name, marks=() if name in REPRESENTATIVE else pytest.mark.slow)
            for name, kind in kinds.items()
        ],
    )


EVERY_READING = {**STEPPED, **{kind.__name__: kind for kind in make_readings()}}
every_method, every_reading = by_method(STEPPED), by_method(EVERY_READING)


def small(kind: type[Method], seed: int = 0, **settings: Any) -> Method:
    """Return a method with narrow networks, in training mode."""
    method: Method = kind(dim_of(kind), dataclasses.replace(kind.defaults, channels=8, **settings), seed)
    return method.train()


def dim_of(kind: type[Method]) -> int:
    """Return the number of values per frame in small inputs for the method."""
    return max(6, kind.min_dim)


def batches_for(kind: type[Method], *sizes: int, **like: Any) -> Pair:
    """Return batches of `make_batches` that are large enough for the method's networks."""
    frames = max(like.pop("frames", 32), kind.min_frames)
    if kind.reads_statistics(kind.defaults):
        frames = 1
    return make_batches(*sizes, dim=dim_of(kind), frames=frames, **like)


def folds(kind: type[Method]) -> int:
    """Return the number of networks that share a labelled batch, above 1 for cross-validated methods."""
    return getattr(kind.defaults, "folds", 1)


def losses(model: Method, pair: Pair, seed: int = 0, step: Tensor = STEP) -> dict[str, Tensor]:
    """Return the terms of a step over all phases and turns. The seed determines dropout."""
    torch.manual_seed(seed)
    terms: dict[str, Tensor] = {}
    every_group = tuple(group.name for group in model.parameter_groups())
    for phase in model.phases:
        model.phase = phase.name
        for model.turn in phase.turns or (every_group,):
            terms |= model.losses(*pair, step)
    return terms


def gradients(model: Method, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the gradient of the sum of the terms for each parameter. Assert that no parameter lacks one."""
    model.zero_grad(set_to_none=True)
    torch.stack(list(terms.values())).sum().backward()
    missing = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not missing
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("kind", METHODS.values(), ids=METHODS.keys())
def test_method_is_registered_and_its_settings_can_be_set(kind: type[Method]) -> None:
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
    [pytest.param(k, id=name, marks=() if name in STEPPED else pytest.mark.slow) for name, k in EVERY_READING.items()],
)
def test_terms_are_finite_scalars_whose_gradients_reach_every_parameter(kind: type[Method]) -> None:
    # At the paper's temperature of 0.01, decoupling loss and gradient of a new network are almost 0.
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
    def test_batches_of_unequal_size_are_accepted(self, kind: type[Method]) -> None:
        for sizes in ((8, 5), (3, 8)):
            if getattr(kind.defaults, "mmd_estimator", "").startswith("linear"):
                continue  # needs as many source as target samples
            pair = batches_for(kind, folds(kind) * sizes[0], sizes[1])
            assert all(term.isfinite() for term in losses(small(kind), pair).values())

    def test_shapes_are_static_and_nothing_synchronises_with_the_host(self, kind: type[Method]) -> None:
        model, (source, target) = small(kind), batches_for(kind)
        # Fake tensors hold no data: .item(), bool() and boolean indexing raise an error.
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            fakes = [
                type(batch)(**{name: mode.from_tensor(tensor) for name, tensor in batch.tensors.items()})
                for batch in (source, target)
            ]
            terms = losses(model, (fakes[0], fakes[1]), step=mode.from_tensor(STEP))
            monitored = model.monitor()
        assert all(term.shape == () for term in [*terms.values(), *monitored.values()])


def fill_features(pair: Pair, value: float) -> Pair:
    """Return the batches with one value for all features."""
    source, target = (dataclasses.replace(each, features=torch.full_like(each.features, value)) for each in pair)
    return source, target


DEGENERATE: dict[str, dict[str, Any]] = {
    "all features zero": {"value": 0.0},
    "all features equal": {"value": 3.0},
    "all features equal and far away": {"value": -1e4},
    "all labels are high": {"labels": [1] * 8},
    "all labels are low": {"labels": [0] * 8},
    "one of class 1": {"labels": [0] * 7 + [1]},
    "two utterances": {"each": 2},
    "shortest window": {"frames": 8},
    "collapsed network": {},
}


@every_reading
def test_degenerate_batches_have_finite_terms_and_gradients(kind: type[Method]) -> None:
    for case, like in DEGENERATE.items():
        value, each = like.get("value"), like.get("each")
        sizes = () if each is None else (folds(kind) * each, each)
        pair = batches_for(kind, *sizes, **{key: like[key] for key in ("labels", "frames") if key in like})
        if value is not None:
            pair = fill_features(pair, value)
        model = small(kind)
        if not like:
            for parameter in model.parameters():
                nn.init.zeros_(parameter)
        terms = losses(model, pair)
        assert {name: value.item() for name, value in terms.items() if not value.isfinite()} == {}, case
        broken = [name for name, gradient in gradients(model, terms).items() if not gradient.isfinite().all()]
        assert not broken, case


@every_method
def test_logits_do_not_depend_on_the_rest_of_the_batch(kind: type[Method]) -> None:
    model, (source, _) = small(kind).eval(), batches_for(kind, 5)
    together = model.predict(source.features, source.lengths)
    assert together.shape == (5, 2)
    assert together.isfinite().all()
    for row in range(5):
        alone = model.predict(source.features[row : row + 1], source.lengths[row : row + 1])
        torch.testing.assert_close(alone[0], together[row])


@every_reading
def test_classifier_of_the_embedding_gives_the_logits(kind: type[Method]) -> None:
    model, (source, _) = small(kind).eval(), batches_for(kind, 5)
    inputs = source.features, source.lengths
    found = model.embed(*inputs)
    if issubclass(kind, UpperBound):  # its networks share no feature space
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


def list_adaptation_methods() -> Iterator[Any]:
    """Yield the methods that pass the target through the shared network, without and with L_SCL.

    Omit methods with several phases, because some of their steps have other objectives than Source Only. Omit methods
    that differ from others in their weights only.
    """
    for kind in map(STEPPED.__getitem__, WITH_CODE):
        has_both = isinstance(kind.defaults, PaperNetworkConfig) and hasattr(kind.defaults, "batch_norm")
        if has_both and len(kind.phases) == 1:
            yield pytest.param(kind, (), id=kind.name, marks=() if kind.name in REPRESENTATIVE else pytest.mark.slow)
            if isinstance(kind.defaults, AlignmentConfig):
                yield pytest.param(kind, (("add", "scl"),), id=f"{kind.name} + scl", marks=pytest.mark.slow)


@pytest.fixture(scope="module")
def floor(source: FeatureStore, target: FeatureStore, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """Weights of Source Only."""
    out = tmp_path_factory.mktemp("floor") / "run"
    fit_small(source, target, out, method="source-only")
    return load_tensors(out / "model.safetensors")[0]


@pytest.mark.parametrize(("kind", "added"), list(list_adaptation_methods()))
def test_shared_network_without_transfer_terms_equals_source_only(
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
@pytest.mark.parametrize("kind", [*filter(list_additions, STEPPED.values())], ids=lambda kind: kind.name)
def test_added_term_does_not_change_other_terms_of_the_first_step(kind: type[Method]) -> None:
    plain, added = (small(kind, add=word) for word in ("none", "scl"))
    assert_same_tensors(plain.state_dict(), {name: added.state_dict()[name] for name in plain.state_dict()})
    before, after = (losses(each, batches_for(kind)) for each in (plain, added))
    assert after.pop("scl") > 0
    assert_same_tensors(before, after)


@every_method
def test_only_the_seed_determines_the_initial_weights(kind: type[Method]) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = small(kind, 3).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert_same_tensors(first, small(kind, 3).state_dict())
    other = small(kind, 4).state_dict()
    assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, id=name, marks=() if isinstance(kind.defaults, EncoderConfig) else pytest.mark.slow)
        for name, kind in STEPPED.items()
    ],
)
def test_four_classes_are_learned_from_batches_that_each_lack_one(kind: type[Method]) -> None:
    is_pooled, steps, classes = isinstance(kind.defaults, EncoderConfig), 60, 4
    changed = {"network": "statistics"} if is_pooled else {}
    config = dataclasses.replace(kind.defaults, channels=8, **changed)
    model = kind(dim_of(kind), config, 0, classes).train()
    model.steps = steps
    labels = torch.arange(16).repeat_interleave(folds(kind)) % classes
    frames = 1 if is_pooled else max(32, kind.min_frames)
    source, target = make_batches(len(labels), 16, dim=dim_of(kind), frames=frames, labels=labels.tolist())
    of_class = 3 * make_noise(classes, dim_of(kind), 1, seed=5)
    source = dataclasses.replace(source, features=source.features + of_class[labels])
    optimizers = make_optimizers(model.parameter_groups(), TrainConfig(learning_rate=0.02))
    update = Update(model, optimizers, torch.device("cpu"))

    def measure_loss() -> float:
        with evaluation_mode(model):
            logits = model.predict(source.features, source.lengths)
        assert logits.shape == (len(labels), classes)
        return nn.functional.cross_entropy(logits, labels).item()

    torch.manual_seed(0)
    before = measure_loss()
    for step in range(steps):
        present = (labels != step % classes).nonzero().squeeze(1)
        terms = update(source.take(present), target, find_phase(kind.phases, step, steps))
        assert all(value.isfinite() for value in [*terms.values(), *model.monitor().values()])
    assert measure_loss() < 0.8 * before


#: Sum of the initial weights of small networks for two classes, each times its position in its tensor.
# fmt: off
INITIAL = {
    "source-only": 128.653, "clstm": 25400.051, "dann": 12889.096, "dan": 128.653, "jan": 128.653, "cdan": 1422.630,
    "cdan+e": 1422.630, "bsp": 12889.096, "addi": 58264.697, "saddi": -28988.668, "difl": 296720.720,
    "caam": -3503.483, "mdd": 2092.792, "emo-dna": 10435.620, "v1": 128.653, "v2": 1430.096, "v3": 10435.620,
    "v4": 10435.620, "v5": 9134.177, "upper-bound": 514.612,
}
# fmt: on


@pytest.mark.parametrize(("name", "expected"), INITIAL.items())
def test_initial_weights_for_two_classes_never_change(name: str, expected: float) -> None:
    tensors = [each.detach().double().flatten() for each in small(STEPPED[name], 3).parameters()]
    total = sum(float(each @ torch.arange(1.0, len(each) + 1, dtype=torch.float64)) for each in tensors)
    assert total == pytest.approx(expected, rel=1e-5, abs=0.01)
