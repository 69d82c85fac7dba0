"""Tests of corpora from other packages: import on demand, errors that name the package."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from emodna.pipeline import corpora
from emodna.pipeline.catalogue import find_store
from emodna.pipeline.corpora import CORPORA, list_corpus_names, load_corpora, load_corpus
from emodna.pipeline.errors import CorpusError, PluginError, PrepareCorpus, Remedy, StoreError
from tests.plugins import install_plugin

GOOD = """
from emodna.pipeline.corpora.base import PathCorpus
from emodna.pipeline.corpora.emodb import Emodb

class Studio(Emodb):
    name = "studio"
    subsets = {"women": "half of them"}

    def __init__(self, subset=None):
        self.subset = subset

class Unnamed(Emodb):
    pass

class Factless(PathCorpus):
    name = "factless"
    def describe(self, path):
        return None

class Unfinished(PathCorpus):
    name = "unfinished"

class Failing(Emodb):
    name = "failing"
    def __init__(self):
        raise ValueError("no\\nway")

number = 5
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the module path."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("studio_"):
            del sys.modules[name]


def test_a_plugin_is_a_corpus_like_any_other(path: Path) -> None:
    install_plugin(path, {"studio": "studio_good:Studio"}, studio_good=GOOD)
    assert load_corpus("studio").name == "studio"
    assert load_corpus("studio", "women").subset == "women"  # type: ignore[attr-defined]
    assert list_corpus_names() == sorted([*CORPORA, "studio"])
    assert list(load_corpora()) == list_corpus_names()
    with pytest.raises(CorpusError) as caught:
        load_corpus("studio", "men")
    assert (caught.value.field, caught.value.value, caught.value.valid) == ("subset", "men", ("women",))
    with pytest.raises(CorpusError) as caught:
        load_corpus("berlin")
    assert "studio" in caught.value.valid
    with pytest.raises(StoreError) as unprepared:
        find_store(path / "cache", "studio")
    assert unprepared.value.remedy == Remedy("prepare the corpus", PrepareCorpus("studio", path / "cache"))


def test_only_the_requested_plugin_is_imported(path: Path) -> None:
    entry_points = {"studio": "studio_good:Studio", "other": "studio_other:Other"}
    install_plugin(path, entry_points, studio_good=GOOD, studio_other="raise RuntimeError")
    load_corpus("emodb")
    list_corpus_names()
    assert "studio_good" not in sys.modules
    load_corpus("studio")
    assert "studio_good" in sys.modules
    assert "studio_other" not in sys.modules


def test_a_plugin_cannot_replace_a_corpus_of_this_package(path: Path) -> None:
    install_plugin(path, {"emodb": "studio_good:Studio"}, studio_good=GOOD)
    assert type(load_corpus("emodb")) is CORPORA["emodb"] is load_corpora()["emodb"]
    assert list_corpus_names() == sorted(CORPORA)
    assert "studio_good" not in sys.modules


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("studio", "studio_absent:Studio", "cannot import studio_absent:Studio: ModuleNotFoundError: No module named"),
        ("studio", "studio_good:Absent", "cannot import studio_good:Absent: AttributeError"),
        ("studio", "studio_raises:Studio", "cannot import studio_raises:Studio: RuntimeError: on two lines"),
        ("studio", "studio_exits:Studio", "cannot import studio_exits:Studio: SystemExit: 3"),
        ("studio", "studio_good:number", "studio_good:number is not a subclass of Corpus"),
        ("studio", "studio_good:Unnamed", "has the name 'emodb', but its entry point 'studio'"),
        ("unfinished", "studio_good:Unfinished", "does not define describe"),
        ("factless", "studio_good:Factless", "has no `info`"),
        ("Studio 1", "studio_good:Studio", "not a valid name"),
    ],
)
def test_an_unusable_plugin_is_a_one_line_error_and_stays_in_the_list(
    path: Path, name: str, value: str, reason: str
) -> None:
    install_plugin(
        path,
        {name: value},
        studio_good=GOOD,
        studio_raises="raise RuntimeError('on two\\nlines')",
        studio_exits="raise SystemExit(3)",
    )
    with pytest.raises(PluginError) as caught:
        load_corpus(name)
    text = str(caught.value)
    assert text.startswith(f"{name}: plug-in of emodna-studio 1.0 cannot be used: ")
    assert reason in text
    assert text.isprintable()
    loaded = load_corpora()
    assert str(loaded[name]) == text
    assert loaded["emodb"] is CORPORA["emodb"]
    assert corpora.load_corpus("emodb")


def test_a_plugin_whose_constructor_fails_is_an_error(path: Path) -> None:
    install_plugin(path, {"failing": "studio_good:Failing"}, studio_good=GOOD)
    with pytest.raises(PluginError, match=r"emodna-studio 1.0 cannot be used: studio_good:Failing\(\) fails: .*no way"):
        load_corpus("failing")
