"""torch.compile: runs use the compiled losses, and failures are errors of one line."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.exc import TorchDynamoException

from emodna.model.errors import ConfigError
from emodna.model.training.acceleration import compile_losses
from tests.model.small import Stores, fit_small, read_model

CPU = torch.device("cpu")


def losses(x: Tensor) -> dict[str, Tensor]:
    return {"square": x.square().sum()}


def replace_compile(monkeypatch: pytest.MonkeyPatch, compile_: Callable[..., Any]) -> None:
    monkeypatch.setattr("emodna.model.training.acceleration.shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(torch, "compile", compile_)


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ConfigError, match="'no-such-compiler'") as raised:
        compile_losses(losses, CPU)
    assert raised.value.field == "compile"


def test_the_error_of_a_compilation_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise TorchDynamoException("\nbackend='inductor' raised:\nCppCompileError: many\nmore lines")

    replace_compile(monkeypatch, lambda *_, **__: fail)
    with pytest.raises(ConfigError, match=r"^[^\n]*backend='inductor' raised:[^\n]*$") as raised:
        compile_losses(losses, CPU)(torch.ones(3))
    assert raised.value.field == "compile"


def test_a_run_trains_on_the_compiled_losses(pair: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def compile_(function: Callable[..., Any], **_: Any) -> Callable[..., Any]:
        return lambda *args: seen.append(args) or function(*args)

    replace_compile(monkeypatch, compile_)
    fit_small(*pair, tmp_path / "run", compile=True, steps=3)
    assert len(seen) == 3


def test_a_cuda_graph_needs_cuda(pair: Stores, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cpu") as raised:
        fit_small(*pair, tmp_path / "run", cuda_graph=True)
    assert raised.value.field == "cuda_graph"
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_compiled_runs_are_reproducible(pair: Stores, tmp_path: Path) -> None:
    for run in ("a", "b"):
        fit_small(*pair, tmp_path / run, method="source-only", compile=True, steps=3)
    assert read_model(tmp_path / "a") == read_model(tmp_path / "b")
