"""Known encoders, and the exposure of results on corpora to their training."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest

from emodna.pipeline.corpora import CORPORA
from emodna.pipeline.encoders import known
from emodna.pipeline.encoders.exposure import find_encoder_of, find_exposure, name_trained_model
from emodna.pipeline.encoders.known import KNOWN_ENCODERS, find_known_encoder
from emodna.pipeline.errors import EncoderError
from emodna.pipeline.features import FEATURE_SETS
from emodna.pipeline.features.encoder import EncoderSet, describe_encoder
from emodna.pipeline.features.imported import ImportedSet
from emodna.pipeline.features.wave import WaveSet
from tests.pipeline.tiny_encoders import write_transformers

GUIDE = Path(__file__).parents[2] / "docs" / "FEATURES.md"
RAVDESS = KNOWN_ENCODERS["wav2vec2-ravdess"]


@pytest.mark.parametrize("encoder", KNOWN_ENCODERS.values(), ids=lambda each: each.name)
def test_each_encoder_has_every_fact(encoder: known.KnownEncoder) -> None:
    assert encoder.seen.keys() == CORPORA.keys()
    assert all(seen.exposure in ("yes", "no", "unknown") and seen.citation for seen in encoder.seen.values())
    assert encoder.licence
    assert encoder.training_data
    assert encoder.citation
    assert encoder.revision is None or re.fullmatch("[0-9a-f]{40}", encoder.revision)
    assert encoder.sha256 is None or re.fullmatch("[0-9a-f]{64}", encoder.sha256)
    assert encoder.file.endswith((".onnx", ".safetensors"))  # never a pickle
    assert encoder.revision is not None or encoder.safetensors_ref is not None
    assert find_known_encoder(encoder.sha256 or "-", encoder.source) == (encoder if encoder.revision else None)


def test_audio_from_the_web_may_contain_any_corpus() -> None:
    for name in ("smart-turn-v3.2", "whisper-tiny", "whisper-base", "whisper-small", "wavlm-base-plus"):
        assert {each.exposure for each in KNOWN_ENCODERS[name].seen.values()} == {"unknown"}


@pytest.mark.parametrize("name", FEATURE_SETS)
def test_features_without_training_have_seen_nothing(name: str) -> None:
    assert {find_exposure(FEATURE_SETS[name], corpus) for corpus in (*CORPORA, "calls")} == {"no"}


@pytest.mark.parametrize(
    ("sha256", "location", "corpus", "expected"),
    [
        # Pinned on the hub: the table's answer, also for a subset, a channel or a bandwidth of the corpus.
        ("0" * 64, RAVDESS.source, "ravdess", "yes"),
        ("0" * 64, RAVDESS.source, "emodb", "no"),
        ("0" * 64, RAVDESS.source, "ravdess-channel1-4000hz", "yes"),
        ("0" * 64, KNOWN_ENCODERS["wav2vec2-superb-er"].source, "iemocap-all", "yes"),
        ("0" * 64, RAVDESS.source, "calls", "unknown"),
        # Another commit may hold other weights: it keeps only what is no relief.
        ("0" * 64, f"{RAVDESS.hub}@{'1' * 40}", "ravdess", "yes"),
        ("0" * 64, f"{RAVDESS.hub}@{'1' * 40}", "emodb", "unknown"),
        # A file is known by its hash alone.
        ("0" * 64, "/models/wav2vec2-base", "emodb", "unknown"),
        ("0" * 64, None, "emodb", "unknown"),
        (KNOWN_ENCODERS["wav2vec2-msp"].sha256, "/anywhere", "emodb", "unknown"),
    ],
)
def test_exposure_of_an_encoder(sha256: str, location: str | None, corpus: str, expected: str) -> None:
    features = EncoderSet(encoder="any", encoder_sha256=sha256, location=location)
    assert find_exposure(features, corpus) == expected


def test_the_trained_model_is_named() -> None:
    assert name_trained_model(EncoderSet(encoder="whisper-tiny")) == "the encoder whisper-tiny"
    assert name_trained_model(ImportedSet(embeddings="wavlm")) == "the model of the embeddings wavlm"
    assert name_trained_model(WaveSet()).startswith("the model of the features wave16k")


def test_weights_with_a_known_hash_have_its_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "_ENCODERS", (replace(RAVDESS, sha256="5" * 64),))
    features = EncoderSet(encoder="renamed", encoder_sha256="5" * 64, location="/copy/of/the/file")
    assert [find_exposure(features, name) for name in ("ravdess", "savee")] == ["yes", "no"]
    assert (features.licence, features.citation) == (RAVDESS.licence, RAVDESS.citation)


def test_terms_of_an_unknown_encoder_are_not_known() -> None:
    features = EncoderSet(encoder="mine", encoder_sha256="0" * 64)
    assert find_encoder_of(features) is None
    assert (features.licence, features.citation) == ("not known", None)


def test_features_of_another_package_count_as_trained_unless_they_say_otherwise() -> None:
    @dataclass(frozen=True, slots=True)
    class Learned(WaveSet):
        is_trained: ClassVar[bool] = True

    assert find_exposure(Learned(), "emodb") == "unknown"


def test_command_of_the_guide_turns_a_pickle_into_safetensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch, _ = pytest.importorskip("torch"), pytest.importorskip("transformers")
    from safetensors.torch import load_file

    folder = write_transformers(tmp_path / "tiny", "wav2vec2")
    expected = describe_encoder(str(folder), "1")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(EncoderError, match="pickle"):
        describe_encoder(str(folder), "1")
    (code,) = re.findall(r'python -c "(.*safetensors.*)"$', GUIDE.read_text(), re.MULTILINE)
    monkeypatch.chdir(folder)
    exec(code, {})
    assert describe_encoder(str(folder), "1") == expected
