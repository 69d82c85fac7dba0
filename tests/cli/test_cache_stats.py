"""Tests of emodna-cache stats: output, JSON keys and errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from emodna.pipeline.corpora.own import Manifest
from tests.cli.running import Command
from tests.pipeline.making import noise, prepare_corpus, wav

KEYS = (
    "store", "corpus", "feature_set", "channel", "bandwidth", "fingerprint", "utterances", "rejected", "labels",
    "emotions", "gender", "language", "texts", "speakers", "durations", "sample_rate", "channels", "peak_db",
    "quality", "silent_share", "features", "silent", "overloaded", "quiet", "clipped", "flat", "band_limited",
    "other_sample_rate", "other_channels", "outliers", "duplicates", "audio",
)  # fmt: skip
QUARTILES = ("min", "q1", "median", "q3", "max")
CLASSES = ("0", "1", "unlabelled", "share")


@pytest.fixture
def own_recordings(tmp_path: Path, here: Path) -> Path:
    """Return a store of two equal recordings with different labels, a silent one, and one named like markup."""
    for name, content in (
        ("a.wav", wav(noise(0.5))),
        ("b.wav", wav(noise(0.5))),
        ("c.wav", wav(bytes(16_000))),
        ("[red]d.wav", wav(np.clip(9 * noise(0.5, seed=1), -0.9, 0.9))),
    ):
        (tmp_path / name).write_bytes(content)
    table = "path,emotion,speaker\na.wav,anger,[bold]x\nb.wav,sadness,[bold]x\nc.wav,,\n[red]d.wav,,\n"
    (tmp_path / "own.csv").write_text(table)
    prepare_corpus(tmp_path, here / "cache", Manifest(tmp_path / "own.csv", "own"))
    return tmp_path


def test_the_json_has_every_key(emodna_cache: Command, cache: Path) -> None:
    ran = emodna_cache("stats", "emodb", "--cache", cache, "--json")
    assert (ran.code, ran.err) == (0, "")
    document = ran.json
    assert tuple(document) == KEYS
    assert tuple(document["labels"]) == ("arousal", "valence")
    for balance in document["labels"].values():
        assert tuple(balance) == (*CLASSES, "by_gender", "share_over_speakers", "by_speaker")
        assert tuple(balance["by_gender"]["f"]) == tuple(balance["by_speaker"]["03"]) == CLASSES
        assert tuple(balance["share_over_speakers"]) == (*QUARTILES, "least", "most")
    assert tuple(document["speakers"]) == ("known", "without", "utterances", "each")
    assert tuple(document["speakers"]["each"]["03"]) == ("utterances", "seconds")
    assert tuple(document["durations"]) == (
        *QUARTILES, "mean", "total", "window", "longer", "cut", "cut_share", "padding_share", "silence_share",
    )  # fmt: skip
    assert tuple(document["peak_db"]) == tuple(document["silent_share"]) == QUARTILES
    assert tuple(document["features"]) == ("value", "names", "unit", "frames", "mean", "std", "min", "max")
    assert len(document["features"]["mean"]) == 40
    assert tuple(document["duplicates"]) == ("audio", "features", "altered")
    assert document["audio"] is None


def test_audio_adds_keys(emodna_cache: Command, own_recordings: Path) -> None:
    document = emodna_cache("stats", "own", "--audio", "--json").json
    assert tuple(document["audio"]) == ("recordings", "clipped", "offset", "zeros", "unusable")
    (clipped,) = document["audio"]["clipped"]
    assert clipped["id"] == "[red]d.wav"
    assert clipped["samples"] > 100
    (zeros,) = document["audio"]["zeros"]
    assert zeros == {"id": "c.wav", "before": 0.5, "behind": 0.0}
    (group,) = document["duplicates"]["audio"]
    assert sorted(group["ids"]) == ["a.wav", "b.wav"]
    assert group["differ"] == ["emotion", "arousal"]
    assert document["silent"] == ["c.wav"]


def test_anomalies_are_printed_first(emodna_cache: Command, own_recordings: Path) -> None:
    ran = emodna_cache("stats", "own", "--audio")
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert lines[0].startswith("own  mfcc40-22050hz-")
    assert "4 utterances, 0 rejected" in lines[0]
    assert lines[2] == "Anomalies"
    findings = "\n".join(lines[3 : lines.index("", 3)])
    assert "equal files: " in findings
    assert "they differ in emotion, arousal" in findings
    assert "silent (all samples are zero): c.wav" in findings
    assert "clipped: [red]d.wav" in findings
    assert len(lines) < 40
    assert "4 16000 Hz" in ran.out


def test_the_window_can_be_set(emodna_cache: Command, cache: Path) -> None:
    document = emodna_cache("stats", "ravdess", "--cache", cache, "--window", "0.5", "--json").json
    assert document["durations"]["window"] == 0.5
    assert document["durations"]["longer"] == document["utterances"]


def test_a_root_without_any_recording_of_the_store_is_refused(
    emodna_cache: Command, cache: Path, tmp_path: Path
) -> None:
    line = emodna_cache("stats", "emodb", "--cache", cache, "--audio", "--root", tmp_path).error()
    assert str(tmp_path) in line


def test_root_needs_audio(emodna_cache: Command, cache: Path) -> None:
    assert "--root needs --audio" in emodna_cache("stats", "emodb", "--cache", cache, "--root", "x").usage()


@pytest.mark.parametrize("window", ["0", "nan", "inf"])
def test_an_invalid_window_is_refused(emodna_cache: Command, window: str) -> None:
    assert "Invalid value for '--window'" in emodna_cache("stats", "emodb", "--window", window).usage()
