"""The settings in docs/METHODS.md and the words in docs/CORPORA.md exist and are complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from emodna.model.config import TrainConfig, as_settings
from emodna.model.methods import METHODS
from emodna.pipeline.corpora.own import COLUMNS, GENDERS
from emodna.pipeline.emotions import SYNONYMS
from emodna.pipeline.store import layout
from emodna.pipeline.tables import MISSING_WORDS

DOCS = Path(__file__).parents[1] / "docs"
TEXT = (DOCS / "METHODS.md").read_text()
CORPORA = (DOCS / "CORPORA.md").read_text()
KEYS = {key for kind in METHODS.values() for key in as_settings(kind.defaults)} | set(as_settings(TrainConfig()))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_documented_with_all_settings(name: str) -> None:
    assert f"`{name}`" in TEXT
    assert [key for key in as_settings(METHODS[name].defaults) if not re.search(rf"\b{key}\b", TEXT)] == []


def test_documented_settings_exist() -> None:
    named = set(re.findall(r"\b([a-z]\w*)=[\w.:-]", TEXT)) - {"key"}
    assert named
    assert named - KEYS == set()


def test_links_within_the_page_have_targets() -> None:
    headings = re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\(#([^)]+)\)", TEXT)) - anchors == set()


def test_the_words_of_tables_are_documented() -> None:
    _, table = CORPORA.split("| emotion | also written |\n|---|---|\n")
    rows = dict(re.findall(r"^\| (\w+) \| (.*) \|$", table.split("\n\n")[0], re.MULTILINE))
    assert {emotion: tuple(words.split(", ")) for emotion, words in rows.items()} == SYNONYMS
    (genders,) = re.findall(r"^\| `gender` \| (.*); another", CORPORA, re.MULTILINE)
    assert re.split(r"[,;] ", genders) == list(GENDERS)
    assert [column for column in COLUMNS if not re.search(rf"^\|.*`{column}`.*\| ", CORPORA, re.MULTILINE)] == []
    (missing,) = re.findall(r"spelling:\nempty, ([^.]*(?:\.#[^.]*)*)\.\n", CORPORA)
    assert set(re.findall(r"`([^`]+)`", missing)) == {*MISSING_WORDS} - {""}
    (reserved,) = re.findall(r"names are reserved: ([^.]*)\.", CORPORA)
    assert {*re.findall(r"`(\w+)`", reserved), *COLUMNS} == {*layout.INDEX_SCHEMA.names, *layout.SPAN_COLUMNS}
