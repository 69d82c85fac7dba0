"""Emo-DNA: the objective (Eq. 12) against the paper's equations, row by row."""

import dataclasses
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from emodna.model.config import apply_settings
from emodna.model.data.batch import Batch, LabelledBatch
from emodna.model.errors import ConfigError
from emodna.model.methods.emo_dna import EmoDna
from tests.model.losses.test_contrastive import oracle as contrastive
from tests.model.losses.test_mmd import oracle_kernel, oracle_mmd, oracle_widths
from tests.model.losses.test_prototypes import oracle as decoupling
from tests.model.methods.test_every_method import gradients, losses, small
from tests.model.small import assert_same_tensors, make_batches

TERMS = {"corpus": "corpus_weight", "decouple": "decouple_weight", "mmd": "mmd_weight", "scl": "scl_weight"}


def model(**settings: Any) -> EmoDna:
    made = small(EmoDna, **{"dropout": 0.0, **settings})
    assert isinstance(made, EmoDna)
    return made


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b) / (a.norm() * b.norm())


def softmax_loss(logits: Tensor, labels: list[int]) -> Tensor:
    """Return the mean of -log p(label) (Eq. 2 and 3)."""
    probabilities = [row.exp() / row.exp().sum() for row in logits]
    return torch.stack([-row[label].log() for row, label in zip(probabilities, labels, strict=True)]).mean()


def mmd(source: Tensor, target: Tensor) -> Tensor:
    """Return Eq. 10 for five Gaussians of weight 1/5 and widths of 1/4 ... 4 times the mean squared distance."""
    return oracle_mmd(source, target, oracle_kernel(oracle_widths(source, target)))


class Step(NamedTuple):
    """Terms without weights, and monitored values, of one step of Algorithm 1."""

    terms: dict[str, Tensor]
    threshold: float
    confident: float
    cosines: dict[str, float]


def compute_step(method: EmoDna, source: LabelledBatch, target: Batch, threshold: float) -> Step:
    """Return one step of Algorithm 1 by the paper's equations, in float64 after the encoders."""
    config, n = method.config, len(source.labels)
    hidden = method.network.backbone(torch.cat([source.features, target.features]))
    emotion = method.network.encoder(hidden).mean(2).double()
    corpus = method.corpus_encoder(hidden, torch.full((len(hidden),), hidden.shape[2])).double()
    projection = method.projection.double()
    logits, corpus_logits = method.network.classifier.double()(emotion), method.corpus_classifier.double()(corpus)
    g_emotion, g_corpus = projection(emotion), projection(corpus)

    probabilities = logits[n:].softmax(1).detach()
    confidence = [max(row) for row in probabilities.tolist()]
    momentum = config.threshold_momentum
    threshold = momentum * threshold + (1 - momentum) * sum(confidence) / len(confidence)  # Eq. 6, before Eq. 7
    pseudo = torch.tensor([1 if p[1] > p[0] else 0 for p in probabilities.tolist()])
    selected = torch.tensor([True] * n + [each >= threshold for each in confidence])
    projections = (g_emotion[:n], g_emotion[n:], g_corpus[:n], g_corpus[n:])
    terms = {
        "emotion": softmax_loss(logits[:n], source.labels.tolist()),
        "corpus": softmax_loss(corpus_logits, [1] * n + [0] * (len(logits) - n)),
        "decouple": torch.tensor(decoupling(projections, config.prototype_temperature), dtype=torch.float64),
        "mmd": mmd(emotion[:n], emotion[n:]),
        "scl": contrastive(g_emotion, torch.cat([source.labels, pseudo]), selected, config.scl_temperature),
    }
    e_source, e_target, c_source, c_target = (each.mean(0) for each in projections)
    cosines = {
        "prototypes_emotion": cosine(e_source, e_target).item(),
        "prototypes_source": cosine(e_source, c_source).item(),
        "prototypes_target": cosine(e_target, c_target).item(),
    }
    return Step(terms, threshold, selected[n:].double().mean().item(), cosines)


class TestObjective:
    # At the paper's temperature of 0.01 the decoupling loss of a new network is almost 0; at 1 it is not.
    @pytest.mark.parametrize(("temperature", "sizes"), [(0.01, (8, 8)), (1.0, (7, 9))])
    def test_terms_equal_the_paper_s_equations(self, temperature: float, sizes: tuple[int, int]) -> None:
        settings = {
            "scl_temperature": temperature,
            "prototype_temperature": temperature,
            # With a low momentum the threshold rises above the confidence of some utterances.
            "threshold_momentum": 0.1,
            **dict.fromkeys(TERMS.values(), 1.0),
        }
        mine, naive, pair = model(**settings), model(**settings), make_batches(*sizes)
        terms = losses(mine, pair)
        expected = compute_step(naive, *pair, threshold=0.5)
        assert terms.keys() == expected.terms.keys()
        for name, term in terms.items():
            torch.testing.assert_close(term.double(), expected.terms[name], rtol=1e-4, atol=1e-6)
        monitored = mine.monitor()
        assert monitored["threshold"].item() == pytest.approx(expected.threshold, abs=1e-6)
        assert monitored["confident"].item() == pytest.approx(expected.confident)
        for name, cosine_of in expected.cosines.items():
            assert monitored[name].item() == pytest.approx(cosine_of, abs=1e-5)
            assert not monitored[name].requires_grad
        # The threshold before its update would select all utterances.
        assert 0 < expected.confident < 1

    def test_threshold_persists_between_steps(self) -> None:
        mine, pair = model(threshold_momentum=0.5), make_batches()
        losses(mine, pair)
        first = mine.monitor()["threshold"].item()
        expected = compute_step(model(threshold_momentum=0.5), *pair, threshold=first)
        terms = losses(mine, pair)
        assert mine.monitor()["threshold"].item() == pytest.approx(expected.threshold, abs=1e-6)
        torch.testing.assert_close(terms["scl"].double(), 0.1 * expected.terms["scl"], rtol=1e-4, atol=1e-6)

    def test_target_gets_gradients_through_projections_only(self) -> None:
        off = dict.fromkeys(TERMS.values(), 0.0) | {"scl_weight": 1.0}
        source, target = make_batches()
        target = dataclasses.replace(target, features=target.features.requires_grad_())
        mine = model(**off)
        losses(mine, (source, target))["scl"].backward()
        assert mine.network.classifier.weight.grad is None
        assert target.features.grad is not None
        assert target.features.grad.any()

    def test_corpus_loss_trains_the_backbone_and_not_the_emotion_encoder(self) -> None:
        mine = model()
        losses(mine, make_batches())["corpus"].backward()
        weights = [p for name, p in mine.network.backbone.named_parameters() if "weight" in name]
        assert all(p.grad is not None and p.grad.any() for p in weights)
        assert all(p.grad is None for p in mine.network.encoder.parameters())


class TestWeights:
    @pytest.mark.parametrize(("term", "weight"), TERMS.items())
    def test_weight_scales_only_its_term(self, term: str, weight: str) -> None:
        once, twice = (losses(model(**{weight: w, "prototype_temperature": 1.0}), make_batches()) for w in (1.0, 2.5))
        torch.testing.assert_close(twice.pop(term), 2.5 * once.pop(term))
        assert_same_tensors(once, twice)

    @pytest.mark.parametrize(("term", "weight"), TERMS.items())
    def test_weight_of_0_drops_the_term_and_keeps_the_rest_bit_identical(self, term: str, weight: str) -> None:
        on, off = model(dropout=0.1), model(dropout=0.1, **{weight: 0.0})

        def assert_same_parts() -> None:
            mine, other = on.state_dict(), off.state_dict()
            assert other.keys() <= mine.keys()  # modules that only the term needs are gone
            assert_same_tensors({name: mine[name] for name in other}, other)

        assert_same_parts()
        before, after = (losses(each, make_batches()) for each in (on, off))
        assert before.keys() - after.keys() == {term}
        del before[term]
        assert_same_tensors(before, after)
        assert_same_parts()  # batch norm and the threshold change equally


#: Other readings of the paper, and the terms that each changes.
READINGS: list[tuple[dict[str, Any], set[str]]] = [
    ({"decouple_negative": "cross"}, {"decouple"}),
    ({"decouple_negative": "both"}, {"decouple"}),
    ({"prototype_mean": "unit"}, {"decouple"}),
    ({"detach_corpus_prototypes": True}, set()),
    ({"projection_heads": "separate"}, {"decouple"}),
    ({"projection_hidden": 16}, {"decouple", "scl"}),
    ({"lstm_directions": "concat-half"}, {"corpus", "decouple"}),
    ({"lstm_directions": "concat", "projection_heads": "separate"}, {"corpus", "decouple"}),
    ({"lstm_pooling": "last"}, {"corpus", "decouple"}),
    ({"tcn_pooling": "last"}, {"emotion", "decouple", "mmd", "scl"}),
    ({"mmd_estimator": "unbiased"}, {"mmd"}),
    ({"mmd_estimator": "linear-ring"}, {"mmd"}),
    ({"mmd_estimator": "linear-pairs"}, {"mmd"}),
    ({"mmd_reduction": "sum"}, {"mmd"}),
    ({"mmd_bandwidth": "mean-with-diagonal"}, {"mmd"}),
    ({"mmd_bandwidth": "median"}, {"mmd"}),
    ({"mmd_width_ratio": 1.5}, {"mmd"}),
    ({"scl_anchors": "source"}, {"scl"}),
    ({"pseudo_label_mode": "eval"}, {"scl"}),
    ({"reduction": "sum"}, {"emotion", "corpus", "scl"}),
    ({"warmup_steps": 1}, {"decouple", "mmd", "scl"}),
    ({"batch_norm": "separate"}, {"emotion", *TERMS}),
    ({"batch_norm": "source"}, {"emotion", *TERMS}),
]

#: Settings with terms well above 0 and some unconfident target utterances for a new network.
MILD = {"scl_temperature": 1.0, "prototype_temperature": 1.0, "threshold_momentum": 0.1}


class TestReadings:
    def test_reading_changes_its_terms_and_keeps_the_rest_bit_identical(self) -> None:
        default = losses(model(**MILD), make_batches())
        for settings, changes in READINGS:
            changed = losses(model(**MILD, **settings), make_batches())
            assert {name for name in default if not torch.equal(default[name], changed[name])} == changes, settings

    def test_each_encoder_has_its_own_separate_head(self) -> None:
        mine, (source, target) = model(**MILD, projection_heads="separate"), make_batches()
        losses(mine, (source, target))["decouple"].backward()
        assert mine.corpus_projection is not None
        for head in (mine.projection, mine.corpus_projection):
            assert all(p.grad is not None and p.grad.any() for p in head.parameters())
        mine.zero_grad()
        losses(mine, (source, target))["scl"].backward()
        assert all(p.grad is None for p in mine.corpus_projection.parameters())

    def test_pseudo_labels_in_evaluation_mode_equal_predictions(self) -> None:
        mine, (source, target) = model(dropout=0.5, threshold_momentum=0.3, pseudo_label_mode="eval"), make_batches()
        losses(mine, (source, target))
        confidence = mine.eval().predict(target.features, target.lengths).softmax(1).max(1).values
        threshold = 0.3 * 0.5 + 0.7 * confidence.mean().item()
        assert mine.monitor()["threshold"].item() == pytest.approx(threshold, abs=1e-6)
        share = (confidence >= threshold).float().mean()
        assert mine.monitor()["confident"].item() == pytest.approx(share.item())

    def test_warm_up_delays_the_alignment_terms(self) -> None:
        pair = make_batches()
        mine, usual = model(**MILD, warmup_steps=3), model(**MILD)
        for step in range(5):
            terms, expected = (each.losses(*pair, torch.tensor(step)) for each in (mine, usual))
            late = {"decouple", "mmd", "scl"} if step < 3 else set()
            assert {name for name, term in terms.items() if term == 0} == late
            assert_same_tensors(*({k: v for k, v in each.items() if k not in late} for each in (terms, expected)))
        # The threshold follows the confidence from the first step.
        assert torch.equal(mine.monitor()["threshold"], usual.monitor()["threshold"])

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"lstm_directions": "concat"}, "needs projection_heads=separate"),
            ({"detach_corpus_prototypes": "true", "projection_heads": "separate"}, "needs projection_heads=shared"),
            ({"lstm_directions": "concat-half", "channels": "7"}, "even number of channels, not 7"),
        ],
    )
    def test_incompatible_readings_are_refused(self, settings: dict[str, str], message: str) -> None:
        with pytest.raises(ConfigError, match=message) as raised:
            apply_settings(settings, EmoDna.defaults)
        assert (raised.value.field, raised.value.value) == next(iter(settings.items()))


def test_batch_without_confident_utterances_learns_from_the_source_only() -> None:
    plain, (source, target) = model(scl_weight=1.0), make_batches()
    # The threshold is above any confidence, and a momentum of almost 1 keeps it there.
    mine = model(scl_weight=1.0, threshold_momentum=1 - 1e-7)
    mine.contrast.labeller.threshold.fill_(1.1)
    terms = losses(mine, (source, target))
    assert mine.monitor()["confident"] == 0
    assert all(term.isfinite() for term in terms.values())
    assert all(gradient.isfinite().all() for gradient in gradients(mine, terms).values())
    hidden = plain.network.backbone(torch.cat([source.features, target.features]))
    projected = plain.projection(plain.network.encoder(hidden).mean(2))[:8].double()
    expected = contrastive(projected, source.labels, torch.ones(8).bool(), 0.01)
    torch.testing.assert_close(terms["scl"].double(), expected, rtol=1e-4, atol=1e-6)
