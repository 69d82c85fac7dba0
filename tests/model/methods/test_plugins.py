"""Methods of other packages: import on demand, errors of broken packages, runs."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from emodna.cli import export as export_command
from emodna.cli import fit as fit_command
from emodna.cli import predict as predict_command
from emodna.cli.runs import command as runs_command
from emodna.model.checkpoint import load_tensors
from emodna.model.errors import ConfigError, RunError
from emodna.model.inference.trained_model import TrainedModel
from emodna.model.methods import ENTRY_POINTS, METHODS, find_package, get_method, list_method_names, load_methods
from emodna.model.methods.catalog import MethodInfo, describe_methods
from emodna.pipeline.errors import PluginError
from emodna.pipeline.store import FeatureStore
from tests.model.small import (
    InterruptAt,
    Interruption,
    Stores,
    assert_one_line_error,
    assert_same_tensors,
    fit_small,
    run_command,
)
from tests.plugins import install_plugin

GOOD = """
from dataclasses import dataclass, field
from emodna.model.config import Weight
from emodna.model.errors import ConfigError
from emodna.model.methods.base import Method, ResolvedConfig
from emodna.model.methods.source_only import SourceOnly, SourceOnlyConfig

@dataclass(frozen=True)
class Config(SourceOnlyConfig):
    floor_weight: Weight = 1.0

    def __post_init__(self):
        if self.floor_weight == 7:
            raise ConfigError("unlucky", field="floor_weight", value=7)

class Floor(SourceOnly):
    name = "floor"
    summary = "a user's floor"
    reference = "nobody 2026"
    defaults = Config()

class Unnamed(SourceOnly):
    pass

class Unfinished(Method):
    name = "unfinished"

number = 5
"""

#: Attributes of a subclass of `Floor`, and a part of the error.
WRONG = {
    "reference = None": "`reference` None",
    "summary = 'on\\ntwo lines'": "`summary` 'on\\ntwo lines'",
    "min_dim = 0": "`min_dim` 0",
    "defaults = {'channels': 64}": "`defaults` {'channels': 64}",
    "defaults = dataclass(type('Melting', (), {}))()": "must be an instance of a frozen dataclass",
    "defaults = keys('list[int]', (1,))": "defaults: key",
    "defaults = keys('Weight', -1.0)": "defaults: key=-1.0",
    "defaults = keys('int', 'one')": "defaults: key=one: must be a whole number",
    "defaults = keys('int', 1, 'batch_size')": "defaults: batch_size",
}
KEYS = """
def keys(annotation, default, key="key"):
    body = {"__annotations__": {key: annotation}, key: default, "__module__": __name__}
    return dataclass(frozen=True)(type("Keys", (), body))()
"""
#: Attributes that fail when a run begins, and a part of the error.
FAILING = {
    "def __init__(self, *_): raise ValueError('no\\nway')": "() fails: ValueError: no way",
    "@classmethod\n    def resolve_config(cls, config, data): return 1 / 0": "resolve_config() fails: ZeroDivision",
    "@classmethod\n    def resolve_config(cls, config, data): return config": "fails: TypeError",
    "@classmethod\n    def resolve_config(cls, config, data): return ResolvedConfig({})": "ResolvedConfig",
    "supervision = 'oracle-folds'": "UpperBound",
    "supervision = property(lambda self: 'mine')": "supervision",
    "def predict(self, features, lengths): return features[:, :3, 0]": "predict() fails: TypeError: it must return",
}


def derive(body: str, name: str = "floor") -> str:
    """Return the source of a module with a subclass of `Floor` that has this body."""
    return f"{GOOD}{KEYS}\nclass Derived(Floor):\n    name = {name!r}\n    {body}\n"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Folder on the module path."""
    folder = tmp_path / "installed"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    yield folder
    for name in [name for name in sys.modules if name.startswith("floor_")]:
        del sys.modules[name]


def install(path: Path, value: str = "floor_good:Floor", name: str = "floor", **modules: str) -> None:
    modules = {"floor_good": GOOD} | modules
    install_plugin(path, {name: value}, group=ENTRY_POINTS, distribution="emodna-floor", **modules)


class TestRegistry:
    def test_plugin_follows_built_in_methods(self, path: Path) -> None:
        install(path)
        assert list_method_names() == [*METHODS, "floor"]
        assert "floor_good" not in sys.modules
        assert get_method("floor").summary == "a user's floor"
        assert list(load_methods()) == list_method_names()
        assert find_package("floor") == {"emodna-floor": "1.0"}
        assert find_package("dan") == {}
        entries = {"other": "floor_other:Other"}
        install_plugin(path, entries, group=ENTRY_POINTS, distribution="other", floor_other="1 / 0")
        del sys.modules["floor_good"]
        get_method("floor")
        assert "floor_other" not in sys.modules
        with pytest.raises(ConfigError, match=r"did you mean floor\?") as raised:
            get_method("flor")
        assert (raised.value.field, raised.value.value) == ("method", "flor")
        assert raised.value.valid == tuple(list_method_names())

    def test_built_in_method_wins(self, path: Path) -> None:
        install(path, name="dan")
        assert get_method("dan") is METHODS["dan"] is load_methods()["dan"]
        assert list_method_names() == list(METHODS)
        assert find_package("dan") == {}
        assert "floor_good" not in sys.modules


def assert_broken(name: str, reason: str) -> None:
    with pytest.raises(PluginError) as raised:
        get_method(name)
    text = str(raised.value)
    assert text.startswith(f"{name}: plug-in of emodna-floor 1.0 cannot be used: ")
    assert reason in text
    assert text.isprintable()


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("floor", "floor_absent:Floor", "cannot import floor_absent:Floor: ModuleNotFoundError"),
        ("floor", "floor_good:Absent", "cannot import floor_good:Absent: AttributeError"),
        ("floor", "floor_raises:Floor", "cannot import floor_raises:Floor: RuntimeError: on two lines"),
        ("floor", "floor_good:number", "floor_good:number is not a subclass of Method"),
        ("floor", "floor_good:Unnamed", "has the name 'source-only', but its entry point 'floor'"),
        ("unfinished", "floor_good:Unfinished", "does not define losses, predict"),
        ("floor", "floor_old:Derived", "must take (dim, config, seed, classes): add classes"),
        ("Floor 1", "floor_good:Floor", "not a valid name"),
    ],
)
def test_import_failure_is_a_one_line_error(path: Path, name: str, value: str, reason: str) -> None:
    old = derive("def __init__(self, dim, config, seed): super().__init__(dim, config, seed)")
    install(path, value, name, floor_raises="raise RuntimeError('on two\\nlines')", floor_old=old)
    assert_broken(name, reason)


def test_invalid_attribute_is_a_one_line_error(path: Path) -> None:
    wrong = {f"wrong{number}": body for number, body in enumerate(WRONG)}
    modules = {f"floor_{name}": derive(body, name) for name, body in wrong.items()}
    entries = {name: f"floor_{name}:Derived" for name in wrong}
    install_plugin(path, entries, group=ENTRY_POINTS, distribution="emodna-floor", **modules, floor_good=GOOD)
    for name, body in wrong.items():
        assert_broken(name, WRONG[body])


@pytest.mark.parametrize("body", FAILING)
def test_failure_at_the_start_of_a_run_is_a_one_line_error(path: Path, body: str, pair: Stores, tmp_path: Path) -> None:
    install(path, "floor_fails:Derived", floor_fails=derive(body))
    with pytest.raises(PluginError) as raised:
        fit_small(*pair, tmp_path / "run", method="floor")
    assert str(raised.value).startswith("floor: plug-in of emodna-floor 1.0 cannot be used: floor_fails:Derived")
    assert FAILING[body] in str(raised.value)
    assert str(raised.value).isprintable()
    assert not (tmp_path / "run").exists()


def test_config_errors_of_a_plugin_are_passed_on(path: Path, pair: Stores, tmp_path: Path) -> None:
    install(path)
    with pytest.raises(ConfigError, match=r"^floor_weight=7: unlucky$"):
        fit_small(*pair, tmp_path / "run", method="floor", settings={"floor_weight": "7"})


class TestListMethods:
    def test_shows_plugin_with_its_package(self, path: Path) -> None:
        install(path)
        listing = " ".join(run_command(fit_command.main, "--list-methods").out.split())
        assert "floor a user's floor [network] nobody 2026 from the package emodna-floor 1.0" in listing
        listed = json.loads(run_command(fit_command.main, "--list-methods", "--json").out)[-1]
        assert listed["method"] == "floor"
        assert listed["package"] == {"emodna-floor": "1.0"}
        assert listed["settings"]["floor_weight"] == 1.0

    def test_shows_the_error_of_a_broken_plugin(self, path: Path) -> None:
        install(path, floor_good="raise RuntimeError('\\x1b[31m')")
        result = run_command(fit_command.main, "--list-methods")
        assert (result.code, result.err) == (0, "")
        assert "\x1b" not in result.out
        listing = " ".join(result.out.split())
        assert "floor plug-in of emodna-floor 1.0 cannot be used: cannot import" in listing
        assert METHODS["dan"].summary in listing
        last = json.loads(run_command(fit_command.main, "--list-methods", "--json").out)[-1]
        assert last["method"] == "floor"
        assert "cannot be used" in last["error"]

    def test_marks_oracles(self, path: Path) -> None:
        body = "supervision = property(lambda self: 'oracle-labels')"
        install(path, "floor_oracle:Derived", floor_oracle=derive(body))
        found = describe_methods()["floor"]
        assert isinstance(found, MethodInfo)
        assert found.oracle
        assert "(oracle)" in run_command(fit_command.main, "--list-methods").out.split("floor ", 1)[1]


@pytest.fixture
def run(path: Path, source: FeatureStore, target: FeatureStore, tmp_path: Path) -> Path:
    """Folder of a run that was interrupted and resumed."""
    install(path)
    folder = tmp_path / "runs" / "one"
    options = {"method": "floor", "steps": 3, "settings": {"checkpoint_seconds": "0"}}
    with pytest.raises(Interruption):
        fit_small(source, target, folder, callback=InterruptAt(2), **options)  # type: ignore[arg-type]
    fit_small(source, target, folder, resume=True, **options)  # type: ignore[arg-type]
    return folder


class TestRuns:
    def test_plugin_has_usual_runs(self, run: Path, pair: Stores, roots: dict[str, Path], tmp_path: Path) -> None:
        fit_small(*pair, run.parent / "whole", method="source-only", steps=3)
        mine, whole = (load_tensors(each / "model.safetensors")[0] for each in (run, run.parent / "whole"))
        assert_same_tensors(mine, whole)
        assert json.loads((run / "config.json").read_text())["versions"]["emodna-floor"] == "1.0"
        assert "the method floor " in (run / "MODEL_CARD.md").read_text()
        for words in (["ls", run.parent], ["show", run], ["compare", run, run.parent / "whole"]):
            result = run_command(runs_command.main, *words)
            assert result.code == 0
            assert "floor" in result.out
        assert run_command(export_command.main, run, "--to", "card", "--out", tmp_path / "card.md").code == 0
        result = run_command(predict_command.main, run, next(roots["emodb"].rglob("*.wav")), "--json")
        assert result.code == 0
        assert 0 < json.loads(result.out)[0]["probability"] < 1

    def test_missing_package_is_named(self, run: Path, path: Path, roots: dict[str, Path], tmp_path: Path) -> None:
        shutil.rmtree(path / "emodna_floor-1.0.dist-info")
        with pytest.raises(RunError) as raised:
            TrainedModel.load(run)
        problem = "made by the method 'floor' of 'emodna-floor 1.0', which is not installed"
        assert str(raised.value) == f"{run / 'model.safetensors'}: {problem}"
        recording = next(roots["emodb"].rglob("*.wav"))
        assert_one_line_error(run_command(predict_command.main, run, recording), problem)
        result = run_command(export_command.main, run, "--to", "card", "--out", tmp_path / "card.md")
        assert_one_line_error(result, str(run), "made by the method 'floor', which is not installed")
        for words in (["ls", run.parent], ["show", run]):
            assert "floor" in run_command(runs_command.main, *words).out

    def test_broken_package_is_named(self, run: Path, path: Path) -> None:
        for text in ("import floor_gone", GOOD + "\nFloor.__init__ = lambda self, *_: 1 / 0"):
            sys.modules.pop("floor_good", None)
            (path / "floor_good.py").write_text(text)
            importlib.invalidate_caches()
            with pytest.raises(RunError, match=r"model\.safetensors: .*emodna-floor 1\.0 cannot be used"):
                TrainedModel.load(run)
