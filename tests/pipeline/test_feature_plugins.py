"""Feature sets from other packages: import on demand, checks, errors that name the package."""

from __future__ import annotations

import io
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from emodna.pipeline.catalogue import find_store
from emodna.pipeline.corpora import load_corpus
from emodna.pipeline.errors import AudioError, EmodnaError, PluginError
from emodna.pipeline.export import export_store
from emodna.pipeline.features import (
    find_packages,
    list_feature_set_names,
    load_feature_set,
    make_feature_set,
    rebuild_feature_set,
)
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.store.snapshot import read_snapshot
from tests.pipeline.making import noise, prepare_corpus
from tests.plugins import install_plugin

GOOD = """
from dataclasses import dataclass
from typing import ClassVar
import numpy as np
from emodna.pipeline.errors import AudioError
from emodna.pipeline.features import FeatureSet

@dataclass(frozen=True, slots=True)
class Halves(FeatureSet):
    sample_rate: int = 8000
    hop_length: int = 400
    gain: float = 1.0
    mode: str = "plain"

    kind: ClassVar[str] = "halves"
    value: ClassVar[str] = "half"
    has_silence: ClassVar[bool] = False

    @property
    def title(self):
        return f"halves-{self.mode}"

    @property
    def dim(self):
        return 2

    @property
    def min_samples(self):
        return 400

    def transform(self, samples):
        if self.mode == "fails":
            raise {errors}
        if self.mode == "wide":
            return samples[:, None], 0.0
        frames = samples[: len(samples) // 400 * 400].reshape(-1, 2, 200)
        return np.abs(frames * np.float32(self.gain)).mean(axis=2), -3.0
"""


def write(**changes: str) -> str:
    """Return the module, with lines replaced: old -> new."""
    text = GOOD.replace("{errors}", "ValueError('no\\nway')")
    for old, new in changes.values():
        assert old in text
        text = text.replace(old, new)
    return text


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the module path."""
    folder = tmp_path / "installed"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    yield folder
    sys.modules.pop("halves_set", None)


def install(path: Path, text: str, name: str = "halves", value: str = "halves_set:Halves") -> None:
    install_plugin(path, {name: value}, group="emodna.features", distribution="emodna-halves", halves_set=text)


def test_features_of_another_package_are_prepared_and_rebuilt(path: Path, tmp_path: Path, emodb_root: Path) -> None:
    install(path, write())
    assert list_feature_set_names()[-1] == "halves"
    assert "halves_set" not in sys.modules
    features = make_feature_set("halves")
    assert (features.name.rpartition("-")[0], features.dim) == ("halves-plain", 2)
    other = replace(features, gain=2.0, mode="loud")
    assert rebuild_feature_set(other.parameters()) == other
    prepare_corpus(emodb_root, tmp_path / "cache", load_corpus("emodb"), features=other)
    for name in ("halves", other.name, "halves-loud"):
        if name == "halves":  # the default configuration, which is not prepared
            with pytest.raises(EmodnaError):
                find_store(tmp_path / "cache", "emodb", name)
        else:
            store = FeatureStore(find_store(tmp_path / "cache", "emodb", name))
    assert rebuild_feature_set(store.snapshot.parameters) == other
    assert store.snapshot.libraries["emodna-halves"] == "1.0"
    assert find_packages(other) == ("emodna-halves",)
    assert store[0].shape[1] == 2


def test_float16_features_are_exported_as_a_store_reads_them(path: Path, tmp_path: Path, emodb_root: Path) -> None:
    half = ("    has_silence", "    storage: ClassVar[str] = 'float16'\n    has_silence")
    install(path, write(a=half))
    features = make_feature_set("halves")
    store = FeatureStore(prepare_corpus(emodb_root, tmp_path, load_corpus("emodb"), features=features).store)
    expected = np.concatenate(list(store))
    for name in ("npz", "parquet", "hf", "webdataset"):
        export_store(store, name, tmp_path / name, force=False, on_progress=lambda _count: None)
    np.testing.assert_array_equal(np.load(tmp_path / "npz")["features"], expected)
    for table in (tmp_path / "parquet", tmp_path / "hf" / "data" / "train-00000.parquet"):
        values = pq.read_table(table)["features"].combine_chunks()
        while hasattr(values, "values"):
            values = values.values
        np.testing.assert_array_equal(values.to_numpy(), expected.ravel())
    with tarfile.open(tmp_path / "webdataset" / "000000.tar") as tar:
        arrays = {member.name: tar.extractfile(member) for member in tar if member.name.endswith(".npy")}
        for id, array in zip(store.ids, store, strict=True):
            np.testing.assert_array_equal(np.load(io.BytesIO(arrays[f"{id}.npy"].read())), array)  # type: ignore[union-attr]


def test_a_store_without_its_package_can_be_read_but_not_understood(
    path: Path, tmp_path: Path, emodb_root: Path
) -> None:
    install(path, write())
    report = prepare_corpus(emodb_root, tmp_path / "cache", load_corpus("emodb"), features=make_feature_set("halves"))
    (path / "emodna_halves-1.0.dist-info" / "entry_points.txt").unlink()
    assert FeatureStore(report.store)[0].shape[1] == 2
    with pytest.raises(PluginError, match="halves"):
        rebuild_feature_set(read_snapshot(report.store).parameters)
    install_plugin(
        path, {"halves": "halves_set:Halves"}, group="emodna.features", distribution="other", halves_set=write()
    )
    with pytest.raises(PluginError, match=r"other 1\.0"):
        rebuild_feature_set(make_feature_set("halves").parameters() | {"later": 1})


BROKEN = {
    "not a subclass": {"a": ("Halves(FeatureSet)", "Halves")},
    "frozen": {"a": ("@dataclass(frozen=True, slots=True)\n", "")},
    "no default": {"a": ("gain: float = 1.0", "gain: float"), "b": ("slots=True", "slots=True, kw_only=True")},
    "does not define": {"a": ("def transform", "def convert")},
    "kind 'thirds'": {"a": ('= "halves"\n    value', '= "thirds"\n    value')},
    "ZeroDivisionError": {"a": ("return 2\n", "return 1 // 0\n")},
    "dim must be": {"a": ("return 2\n", "return 0\n")},
    "title must consist": {"a": ('f"halves-{self.mode}"', '"Halves!"')},
    "title must be halves": {"a": ('f"halves-{self.mode}"', '"half-plain"')},
    "NotImplementedError": {"a": ("has_silence: ClassVar[bool] = False", "pass")},
    "parameter gain": {"a": ("gain: float = 1.0", "gain: object = (1, 2)")},
    "own name": {
        "a": ("    def transform", "    def details(self):\n        return {'g': self.gain}\n\n    def transform")
    },
    "ModuleNotFoundError": {"a": ("import numpy", "import numpie\nimport numpy")},
}


@pytest.mark.parametrize("reason", BROKEN)
def test_a_broken_feature_set_is_refused_with_the_name_of_its_package(reason: str, path: Path) -> None:
    install(path, write(**BROKEN[reason]))
    with pytest.raises(PluginError, match=reason) as caught:
        load_feature_set("halves")
    assert "emodna-halves 1.0" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_errors_of_its_code_name_the_package(path: Path) -> None:
    install(path, write())
    features = make_feature_set("halves")
    for mode, reason in (("fails", "ValueError: no way"), ("wide", r"float32 \(800, 1\)")):
        with pytest.raises(PluginError, match=reason) as caught:
            replace(features, mode=mode).extract(noise(0.1, 8000))
        assert "emodna-halves 1.0" in str(caught.value)
    with pytest.raises(AudioError, match="too short"):
        features.extract(np.zeros(399, np.float32))
    with pytest.raises(AudioError, match="not finite"):
        features.extract(np.full(800, np.inf, np.float32))


@pytest.mark.parametrize("error", ["AudioError('only whispers')", "MemoryError()"])
def test_errors_that_explain_themselves_stay(error: str, path: Path) -> None:
    install(path, GOOD.replace("{errors}", error))
    with pytest.raises((AudioError, MemoryError)):
        replace(make_feature_set("halves"), mode="fails").extract(noise(0.1, 8000))


@pytest.mark.parametrize("name", ["mfcc40", "mfcc", "imported"])
def test_an_own_feature_set_cannot_be_replaced(name: str, path: Path) -> None:
    before = list_feature_set_names()
    install(path, write(), name=name)
    assert list_feature_set_names() == before
