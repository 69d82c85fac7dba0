"""V1 to V5: remaining terms, and equality with other methods."""

from pathlib import Path

import pytest

from emodna.model.checkpoint import load_tensors
from emodna.model.methods import METHODS
from tests.model.methods.test_every_method import batches_for, losses, small
from tests.model.small import Stores, assert_same_tensors, fit_small, read_log

#: Terms of each ablation in the paper's Table 4.
TERMS = {
    "v1": {"emotion"},
    "v2": {"emotion", "corpus"},
    "v3": {"emotion", "corpus", "mmd", "scl"},
    "v4": {"emotion", "corpus", "decouple"},
    "v5": {"emotion", "mmd", "scl"},
    "emo-dna": {"emotion", "corpus", "mmd", "scl", "decouple"},
}


@pytest.mark.parametrize("name", TERMS)
def test_ablation_has_the_terms_of_the_table(name: str) -> None:
    kind = METHODS[name]
    assert losses(small(kind), batches_for(kind)).keys() == TERMS[name]


def test_v5_equals_dan_with_scl(pair: Stores, tmp_path: Path) -> None:
    fit_small(*pair, tmp_path / "v5", method="v5", steps=3)
    fit_small(*pair, tmp_path / "dan", method="dan", steps=3, settings={"add": "scl"})
    mine, other = (load_tensors(tmp_path / name / "model.safetensors")[0] for name in ("v5", "dan"))
    assert not [name for name in mine if "corpus" in name]
    assert_same_tensors(mine, other)
    terms = ("emotion", "mmd", "scl", "threshold", "confident")
    for line, line_of_dan in zip(*(read_log(tmp_path / name) for name in ("v5", "dan")), strict=True):
        assert [line[term] for term in terms] == [line_of_dan[term] for term in terms]
