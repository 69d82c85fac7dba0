"""The settings in docs/METHODS.md exist and are complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from emodna.model.config import TrainConfig, as_settings
from emodna.model.methods import METHODS

TEXT = (Path(__file__).parents[1] / "docs" / "METHODS.md").read_text()
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
