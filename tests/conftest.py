"""Fixtures of all tests: an environment without user settings, and small stores, made once per worker."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from emodna.pipeline.corpora import load_corpus
from emodna.pipeline.store import FeatureStore
from tests.pipeline.corpora.builders import BUILDERS, write_file
from tests.pipeline.making import age, noise, prepare_corpus, wav
from tests.synthesis import make_emodb, make_ravdess

# No deadline: a machine may be busy. Derandomised: failures can be reproduced. `make test-all` uses "thorough".
settings.register_profile("quick", deadline=None, derandomize=True, max_examples=20)
settings.register_profile("thorough", deadline=None, derandomize=True, max_examples=100)
settings.load_profile("quick")

# A shell makes its background processes ignore SIGINT; commands that tests interrupt would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _clean_environment() -> Iterator[None]:
    """Delete the variables that the commands read, and those that make rich treat a pipe as a terminal."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith("EMODNA_") or name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS"):
                patch.delenv(name)
        yield


@pytest.fixture(autouse=True)
def _reset_log_level() -> None:
    """Show warnings again after an earlier command with -q in this process."""
    logging.getLogger("emodna").setLevel(logging.NOTSET)


@pytest.fixture(scope="session")
def ravdess_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen short utterances in the layout of RAVDESS: two speakers, all emotions."""
    root = tmp_path_factory.mktemp("ravdess")
    age(make_ravdess(root, actors=(1, 2), intensities=(1,), statements=(1,), repetitions=(1,), syllables=1))
    return root


@pytest.fixture(scope="session")
def emodb_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About twenty short utterances in the layout of EMODB, two speakers."""
    root = tmp_path_factory.mktemp("emodb")
    age(make_emodb(root, speakers=("03", "08"), texts=("a01", "b03"), syllables=1))
    return root


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory, ravdess_root: Path, emodb_root: Path) -> Path:
    """A cache of both small corpora. Read-only: a test that changes a store must copy it first."""
    folder = tmp_path_factory.mktemp("cache")
    prepare_corpus(ravdess_root, folder, load_corpus("ravdess"))
    prepare_corpus(emodb_root, folder, load_corpus("emodb"))
    return folder


@pytest.fixture(scope="session")
def emodb_store(cache: Path) -> Path:
    return next((cache / "emodb").iterdir())


@pytest.fixture(scope="session")
def ravdess_store(cache: Path) -> Path:
    return next((cache / "ravdess").iterdir())


@pytest.fixture(scope="session")
def six_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of all six corpora in their real layouts: 24 short noises each, both classes of both tasks. Read-only."""
    folder = tmp_path_factory.mktemp("six")
    for name, builder in BUILDERS.items():
        paths = list(builder.paths())
        # Steps of 61, which has no factor in common with the layouts, alternate speakers and emotions.
        for path in [paths[number * 61 % len(paths)] for number in range(24)]:
            builder.label(folder / "roots" / name, [path])
            write_file(folder / "roots" / name / path, wav(noise(0.4, seed=f"{name} {path}")))
        prepare_corpus(folder / "roots" / name, folder / "cache", load_corpus(name))
    return folder / "cache"


@pytest.fixture(scope="session")
def six_stores(six_cache: Path) -> list[FeatureStore]:
    """The stores of `six_cache`, in order of the corpora's names."""
    return [FeatureStore(path) for path in sorted(six_cache.glob("*/*"))]
