"""DIFL: objective, gradient reversal, and the heads that the data allow."""

import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from emodna.model.data.batch import Batch, LabelledBatch
from emodna.model.errors import ConfigError
from emodna.model.inference.trained_model import TrainedModel
from emodna.model.methods.base import DataSummary
from emodna.model.methods.difl import Difl, DiflConfig
from emodna.pipeline.store import FeatureStore
from tests.model.methods.test_every_method import gradients, losses, small
from tests.model.small import assert_same_tensors, fit_small, make_batches, make_manifest_store, read_emotions

HEADS = ("corpus", "gender", "language")
NOTHING: frozenset[str] = frozenset()


def model(**settings: Any) -> Difl:
    made = small(Difl, **{"dropout": 0.0, "head_dropout": 0.0, "lstm_units": 6, **settings})
    assert isinstance(made, Difl)
    return made


def set_genders(pair: tuple[LabelledBatch, Batch], *genders: list[int]) -> tuple[LabelledBatch, Batch]:
    batches = zip(pair, map(torch.tensor, genders), strict=True)
    source, target = (dataclasses.replace(batch, gender=gender) for batch, gender in batches)
    return source, target  # type: ignore[return-value]


def softmax_loss(logits: Tensor, labels: list[int]) -> Tensor:
    """Return the mean of -log p(label) over the known labels."""
    rows = [(row, label) for row, label in zip(logits, labels, strict=True) if label >= 0]
    return torch.stack([row.logsumexp(0) - row[label] for row, label in rows]).mean()


class TestObjective:
    def test_terms_are_emotion_loss_and_a_third_of_each_head_loss(self) -> None:
        source, target = set_genders(make_batches(8, 5), [0, 1, -1, 1, 0, 0, -1, 1], [1, -1, 0, 0, 1])
        mine, other = model(), model()
        terms = losses(mine, (source, target))
        features = torch.cat([source.features, target.features])
        z = other.encoder(features, torch.full((13,), 32))
        assert terms.keys() == {"emotion", *HEADS}
        torch.testing.assert_close(terms["emotion"], softmax_loss(other.classifier(z[:8]), source.labels.tolist()))
        labels = {
            "corpus": [1] * 8 + [0] * 5,
            "gender": [0, 1, -1, 1, 0, 0, -1, 1, 1, -1, 0, 0, 1],
            "language": [1] * 8 + [0] * 5,
        }
        for head in HEADS:
            torch.testing.assert_close(terms[head], softmax_loss(other.heads[head](z), labels[head]) / 3)

    @pytest.mark.parametrize(("off", "share"), [(("language",), 1 / 2), (("corpus", "gender"), 1.0)])
    def test_enabled_heads_share_the_weight(self, off: tuple[str, ...], share: float) -> None:
        every, fewer = model(), model(**{f"{head}_head": False for head in off}, adversarial_weight=0.7)
        left = {head for head in HEADS if head not in off}
        assert set(fewer.heads) == left
        before, after = (losses(each, make_batches()) for each in (every, fewer))
        assert after.keys() == {"emotion", *left}
        for head in left:
            torch.testing.assert_close(after[head], 0.7 * share * 3 * before[head])
        assert torch.equal(after["emotion"], before["emotion"])


class TestReversal:
    def compute_gradients(self, step: int, **settings: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the gradients of the head losses: of the encoder, and of the heads."""
        mine = model(**settings)
        terms = losses(mine, make_batches(), step=torch.tensor(step))
        torch.stack([terms[head] for head in HEADS]).sum().backward()
        every = {name: p.grad for name, p in mine.named_parameters() if p.grad is not None}
        encoder, heads = ({n: g for n, g in every.items() if n.startswith(start)} for start in ("encoder.", "heads."))
        assert every.keys() == encoder.keys() | heads.keys()  # the emotion head has none
        assert encoder
        assert heads
        return encoder, heads

    def test_encoder_gradient_is_reversed_by_lambda(self, monkeypatch: pytest.MonkeyPatch) -> None:
        reversed_, heads = self.compute_gradients(100)
        monkeypatch.setattr("emodna.model.methods.difl.reverse_gradient", lambda x, _weight: x)
        plain, same = self.compute_gradients(100)
        assert_same_tensors(heads, same)
        for name, gradient in plain.items():
            torch.testing.assert_close(reversed_[name], -0.46212 * gradient, rtol=1e-4, atol=1e-8)


class TestUnknownGender:
    @pytest.mark.parametrize("unknown", [(0,), (1,), (0, 1)], ids=["source", "target", "both"])
    def test_gradients_are_finite_if_a_batch_has_no_gender(self, unknown: tuple[int, ...]) -> None:
        genders = [[-1] * 8 if side in unknown else [0, 1] * 4 for side in (0, 1)]
        mine = model()
        terms = losses(mine, set_genders(make_batches(), *genders), step=torch.tensor(500))
        assert all(gradient.isfinite().all() for gradient in gradients(mine, terms).values())
        none_known = len(unknown) == 2
        assert (terms["gender"].item() == 0) == none_known
        assert mine.monitor()["gender_accuracy"].isnan().item() == none_known

    def test_accuracy_ignores_unknown_labels(self) -> None:
        mine = model()
        with torch.no_grad():
            for parameter in mine.heads["gender"].parameters():
                parameter.zero_()  # equal logits: the first class, f
        losses(mine, set_genders(make_batches(), [-1] * 6 + [0, 1], [1, 0] + [-1] * 6))
        assert mine.monitor()["gender_accuracy"].item() == 0.5


class TestCenters:
    def test_center_loss_uses_source_features(self) -> None:
        mine, (source, target) = model(center_weight=0.5, batch_norm="separate"), make_batches()
        nn.init.normal_(mine.centers)
        z = mine.encoder(source.features, source.lengths).detach()
        distances = [(row - mine.centers[label]).square().sum() for row, label in zip(z, source.labels, strict=True)]
        center = losses(mine, (source, target))["center"]
        torch.testing.assert_close(center, 0.5 * torch.stack(distances).mean() / 2)

    def test_centers_have_their_own_learning_rate(self) -> None:
        mine = model(center_weight=0.5, center_learning_rate=0.2)
        others, centers = mine.parameter_groups()
        assert (others.learning_rate, centers.learning_rate) == (None, 0.2)
        assert [id(p) for p in centers.parameters] == [id(mine.centers)]


def summarise(
    genders: tuple[Iterable[str], Iterable[str]] = ("fm", "fm"),
    languages: tuple[Iterable[str], Iterable[str]] = (("en",), ("de",)),
) -> DataSummary:
    sets = [frozenset(values) for values in (*genders, *languages)]
    return DataSummary(40, 188, 64, *sets, target_speakers=10)


def assert_remarks(remarks: Sequence[str], part: str | None) -> None:
    """Assert that there is one remark with this part, or none."""
    assert len(remarks) == (part is not None)
    assert not part or part in remarks[0]


class TestResolveConfig:
    @pytest.mark.parametrize(
        ("genders", "kept", "remark"),
        [
            (("fm", "fm"), True, None),
            (("f", "f"), False, "known gender have f"),
            (("m", "fm"), True, "the source has m and the target f, m, so gender is partly a corpus label"),
            (("f", "m"), True, "the source has f and the target m, so gender is a second corpus label"),
            (("", ""), False, "the gender of all utterances is unknown"),
            (("fm", ""), True, "learns from the source only"),
            (("", "fm"), True, "learns from the target only"),
            (("", "m"), False, "known gender have m"),
        ],
    )
    def test_gender_head_needs_two_known_genders(self, genders: Any, kept: bool, remark: str | None) -> None:
        config, remarks = Difl.resolve_config(DiflConfig(), summarise(genders, (("de", "en"), ("de", "en"))))
        assert config == DiflConfig(gender_head=kept)
        assert_remarks(remarks, remark)

    @pytest.mark.parametrize(
        ("languages", "count", "remark"),
        [
            ((("en",), ("en",)), None, "known language have en"),
            ((("en",), ("de",)), 2, "so language is a second corpus label"),
            ((("de", "en", "it"), ("it",)), 3, "the source has de, en, it and the target it"),
            ((("de", "en", "zh"), ("de", "en", "zh")), 3, None),
            ((NOTHING, NOTHING), None, "the language of all utterances is unknown"),
        ],
    )
    def test_language_head_needs_two_known_languages(self, languages: Any, count: Any, remark: str | None) -> None:
        config, remarks = Difl.resolve_config(DiflConfig(), summarise(languages=languages))
        assert config == DiflConfig(language_head=count is not None, languages=count or 2)
        assert_remarks(remarks, remark)

    def test_remark_says_that_no_head_is_left(self) -> None:
        config, remarks = Difl.resolve_config(DiflConfig(corpus_head=False), summarise(("m", "m"), (("en",), ("en",))))
        assert config.heads == {}
        assert len(remarks) == 3
        assert remarks[-1].startswith("no adversarial head is left")

    def test_wrong_number_of_languages_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="2 languages") as raised:
            Difl.resolve_config(DiflConfig(languages=5), summarise())
        assert (raised.value.field, raised.value.value) == ("languages", 5)


def test_run_has_the_heads_that_its_corpora_allow(
    source: FeatureStore, target: FeatureStore, roots: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Male English speakers, and English speakers of both genders, like SAVEE and RAVDESS.
    emotions = read_emotions(target)
    columns = {"gender": dict.fromkeys(emotions, "m"), "language": dict.fromkeys(emotions, "en")}
    male = make_manifest_store(roots["emodb"], emotions, tmp_path / "cache", **columns)
    fit_small(male, source, tmp_path / "run", method="difl")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert [config["decisive"]["method_config"][f"{head}_head"] for head in HEADS] == [True, True, False]
    assert "no language head" in config["remarks"][-1]
    assert config["remarks"][-1] in caplog.text
    method = TrainedModel.load(tmp_path / "run").method
    assert isinstance(method, Difl)
    assert set(method.heads) == {"corpus", "gender"}
