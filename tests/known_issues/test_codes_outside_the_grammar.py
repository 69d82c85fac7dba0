"""Only emotions were checked: an actor 99 became a man, an unknown EMODB speaker a woman."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from emodna.pipeline.corpora import corpus
from emodna.pipeline.corpora.base import Skip


@pytest.mark.parametrize(
    ("name", "path", "reason"),
    [
        ("ravdess", "03-01-03-01-01-01-99.wav", "unknown actor 99"),
        ("ravdess", "03-01-03-01-01-01-00.wav", "unknown actor 00"),
        ("ravdess", "03-01-03-01-07-01-01.wav", "unknown statement 07"),
        ("ravdess", "03-01-03-09-01-01-01.wav", "unknown intensity 09"),
        ("ravdess", "03-01-03-01-01-03-01.wav", "unknown repetition 03"),
        ("emodb", "99a01Wa.wav", "unknown speaker 99"),
        ("emodb", "03b99Wa.wav", "unknown text b99"),
    ],
)
def test_an_unknown_code_of_any_kind_is_skipped_with_its_reason(name: str, path: str, reason: str) -> None:
    assert corpus(name).describe(PurePosixPath(path)) == Skip(reason)
