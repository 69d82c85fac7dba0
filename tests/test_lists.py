"""Parameters for several values: one name is an error, not a list of its letters."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from emodna.model.inference.inputs import find_inputs
from emodna.model.inference.predict import predict_files
from emodna.model.inference.trained_model import TrainedModel
from emodna.model.request import FitRequest
from emodna.pipeline.archives import open_tree
from emodna.pipeline.corpora.base import PathCorpus
from emodna.pipeline.errors import EmodnaError
from emodna.pipeline.store import FeatureStore

MODEL: Any = mock.Mock(spec=TrainedModel)
ONES: list[Any] = ["x.wav", b"x.wav", Path("x.wav")]


def define_corpus(suffixes: Any) -> Any:
    return type("Studio", (PathCorpus,), {"name": "studio", "suffixes": suffixes})


def read_first(iterator: Iterator[object]) -> object:
    return next(iterator)


@pytest.mark.parametrize("one", ONES)
@pytest.mark.parametrize(
    ("field", "call"),
    [
        ("files", lambda one: predict_files(MODEL, one)),
        ("models", lambda one: predict_files(one, ["x.wav"])),
        ("names", lambda one: read_first(find_inputs(one))),
        ("suffixes", lambda one: open_tree(Path(), one)),
        ("label_suffixes", lambda one: open_tree(Path(), [".wav"], one)),
        ("suffixes", define_corpus),
        ("sources", lambda one: FitRequest(one, MODEL)),
    ],
)
def test_one_value_for_a_list_is_an_error(field: str, call: Callable[[Any], object], one: Any) -> None:
    with pytest.raises(EmodnaError) as raised:
        call(one)
    assert (raised.value.field, raised.value.value) == (field, one)


def test_one_column_or_store_for_a_list_is_an_error(emodb_store: Path) -> None:
    store = FeatureStore(emodb_store)
    for field, call in (
        ("names", lambda: store.columns("speaker")),
        ("sources", lambda: FitRequest(store, store)),  # type: ignore[arg-type]
    ):
        with pytest.raises(EmodnaError) as raised:
            call()
        assert raised.value.field == field
