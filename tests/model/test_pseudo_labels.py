"""Pseudo-labels: golden values, a loop oracle, updates of the threshold and degenerate batches."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses import FakeTensorMode

from emodna.model.config import apply_settings
from emodna.model.data.batch import LabelledBatch
from emodna.model.errors import ConfigError
from emodna.model.methods.emo_dna import EmoDna
from emodna.model.methods.pseudo_labels import (
    AdaptiveThreshold,
    OracleLabels,
    PseudoLabelContrast,
    SclConfig,
    make_labeller,
)
from tests.model.small import make_batches


def make_logits(*confidences: float, classes: int = 2) -> Tensor:
    """Return logits in which class 1 has these probabilities, and the others have equal ones."""
    confidence = torch.tensor(confidences, dtype=torch.float64)
    logits = (torch.log1p(-confidence) - math.log(classes - 1))[:, None].repeat(1, classes)
    logits[:, 1] = torch.log(confidence)
    return logits


class TestGoldenValues:
    @pytest.mark.parametrize(("classes", "expected"), [(2, [0.5, 0.51, 0.539]), (4, [0.25, 0.285, 0.3365])])
    def test_moving_average(self, classes: int, expected: list[float]) -> None:
        module = AdaptiveThreshold(classes, 0.9)
        values = [module.threshold.item()]
        for confidence in (0.6, 0.8):
            module(make_logits(confidence, confidence, classes=classes))
            values.append(module.threshold.item())
        assert values == pytest.approx(expected, abs=1e-6)

    @pytest.mark.parametrize(
        ("momentum", "expected"),
        [
            (0.999, {100: 0.5428, 500: 0.6771, 1000: 0.7845, 3000: 0.9276}),
            (0.99, {100: 0.7853, 500: 0.9470, 1000: 0.95}),
            (0.9, {100: 0.95}),
        ],
    )
    def test_speed_of_the_moving_average(self, momentum: float, expected: dict[int, float]) -> None:
        module = AdaptiveThreshold(2, momentum)
        logits = make_logits(0.95)
        for step in range(1, max(expected) + 1):
            module(logits)
            if step in expected:
                assert module.threshold.item() == pytest.approx(expected[step], abs=6e-5)


@given(
    n_classes=st.integers(2, 5),
    momentum=st.floats(0.01, 0.999),
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=5),
    seed=st.integers(0, 2**31),
)
def test_adaptive_threshold_equals_a_loop(n_classes: int, momentum: float, sizes: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    module = AdaptiveThreshold(n_classes, momentum)
    threshold = 1 / n_classes
    for size in sizes:
        logits = torch.randn(size, n_classes, generator=generator, dtype=torch.float64)
        labels = module(logits)
        rows = [[math.exp(value) for value in row] for row in logits.tolist()]
        confidences = [max(row) / sum(row) for row in rows]
        threshold = momentum * threshold + (1 - momentum) * sum(confidences) / size
        assert module.threshold.item() == pytest.approx(threshold, abs=1e-5)
        assert labels.labels.tolist() == [row.index(max(row)) for row in rows]
        assert labels.confidence.tolist() == pytest.approx(confidences)
        for confidence, selected in zip(confidences, labels.selected.tolist(), strict=True):
            assert selected == (confidence >= threshold) or confidence == pytest.approx(threshold, abs=1e-5)


class TestUpdate:
    def test_update_comes_before_selection(self) -> None:
        # 0.6 is above the first threshold 0.5 but below the second, 0.5 * 0.5 + 0.5 * 0.75 = 0.625.
        labels = AdaptiveThreshold(2, 0.5)(make_logits(0.6, 0.9))
        assert labels.selected.tolist() == [False, True]

    def test_threshold_is_fixed_in_evaluation_mode(self) -> None:
        module = AdaptiveThreshold(2, 0.5).eval()
        labels = module(make_logits(0.6, 0.9))
        assert module.threshold.item() == 0.5
        assert labels.selected.all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("logits", "confidence"),
    [
        pytest.param([[0.0, 0.0]], 0.5, id="undecided"),
        pytest.param([[1e30, -1e30], [-1e30, 1e30]], 1.0, id="huge"),
        pytest.param([[1e-30, -1e-30]], 0.5, id="tiny"),
        pytest.param([[1e30, 1e30]], 0.5, id="huge and equal"),
    ],
)
def test_degenerate_batches_are_finite(logits: list[list[float]], confidence: float, dtype: torch.dtype) -> None:
    module = AdaptiveThreshold(2, 0.9)
    labels = module(torch.tensor(logits, dtype=dtype))
    assert labels.confidence.dtype == dtype
    assert labels.confidence.tolist() == pytest.approx([confidence] * len(logits))
    assert labels.labels.dtype == torch.int64
    assert labels.selected.dtype == torch.bool
    assert labels.selected.all()
    assert 0.5 <= module.threshold.item() <= 1


@pytest.mark.parametrize("threshold", ["adaptive", "fixed:0.9", "none"])
def test_pseudo_labels_have_no_gradient_and_need_no_host(threshold: str) -> None:
    labels = make_labeller(threshold, 2, 0.9)(make_logits(0.6, 0.9).requires_grad_())
    assert not any(part.requires_grad for part in labels)
    # Fake tensors hold no data: .item(), bool() and shapes that depend on values raise an error.
    with FakeTensorMode():
        assert make_labeller(threshold, 2, 0.9)(torch.randn(8, 2)).selected.shape == (8,)


class TestVariants:
    """Thresholds of the paper's Table 6."""

    @pytest.mark.parametrize(
        ("threshold", "selected"),
        [
            ("fixed:0.9", [False, False, True]),
            ("fixed:0.8", [False, True, True]),
            ("fixed:0", [True, True, True]),
            ("fixed:1", [False, False, False]),
            ("none", [True, True, True]),
        ],
    )
    def test_golden_selection(self, threshold: str, selected: list[bool]) -> None:
        labels = make_labeller(threshold, 2, 0.9)(make_logits(0.55, 0.85, 0.95))
        assert labels.selected.tolist() == selected
        assert labels.labels.tolist() == [1, 1, 1]
        assert labels.confidence.tolist() == pytest.approx([0.55, 0.85, 0.95])

    def test_oracle_selects_known_labels(self) -> None:
        labels = OracleLabels()(torch.tensor([1, 0, -1]))
        assert labels.selected.tolist() == [True, True, False]
        assert labels.labels[:2].tolist() == [1, 0]
        assert labels.confidence.tolist() == [1, 1, 0]

    def test_oracle_ignores_utterances_without_label(self) -> None:
        contrast = PseudoLabelContrast(SclConfig(threshold="oracle-labels"))
        source, target = make_batches(4, 3)
        labelled = LabelledBatch(**target.tensors, labels=torch.tensor([1, 0, -1]))
        pseudo = contrast.select(torch.randn(3, 2), labelled)
        projected = torch.randn(7, 5)
        known = type(pseudo)(*(part[:2] for part in pseudo))
        losses = [contrast(projected[: 4 + len(each.labels)], source.labels, each) for each in (pseudo, known)]
        torch.testing.assert_close(*losses)
        assert contrast.monitor()["confident"].item() == pytest.approx(2 / 3)

    def test_thresholds_are_valid_settings(self) -> None:
        for text in ("adaptive", "fixed:0.9", "fixed:0", "fixed:1", "fixed:1e-1", "none", "oracle-labels"):
            (config,) = apply_settings({"threshold": text}, EmoDna.defaults)
            assert config.threshold == text

    @pytest.mark.parametrize("text", ["fixed:1.5", "fixed:-0.1", "fixed:nan", "fixed:", "0.9", "oracle", ""])
    def test_invalid_threshold_is_refused(self, text: str) -> None:
        with pytest.raises(ConfigError, match=f"threshold={text}: must be adaptive, fixed:P"):
            apply_settings({"threshold": text}, EmoDna.defaults)
