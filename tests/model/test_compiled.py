"""--compile: the one line that says why it cannot be, and what it leaves as it is."""

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
from tests.model.small import Stores, fit_small

CPU = torch.device("cpu")


def losses(x: Tensor) -> dict[str, Tensor]:
    return {"square": x.square().sum()}


def pretend(monkeypatch: pytest.MonkeyPatch, run: Callable[..., Any]) -> None:
    """Let the compiler of the losses be this."""
    monkeypatch.setattr("emodna.model.training.acceleration.shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(torch, "compile", lambda *_, **__: run)


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ConfigError, match=r"^--compile: no C\+\+ compiler 'no-such-compiler' found[^\n]*$"):
        compile_losses(losses, CPU)


def test_a_failing_compilation_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise TorchDynamoException("\nbackend='inductor' raised:\nCppCompileError: many\nmore lines")

    pretend(monkeypatch, fails)
    with pytest.raises(ConfigError, match=r"^--compile: backend='inductor' raised:[^\n]*$"):
        compile_losses(losses, CPU)(torch.ones(3))


def test_a_run_is_trained_by_the_compiled_losses(pair: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def compile_(function: Callable[..., Any], **_: Any) -> Callable[..., Any]:
        return lambda *args: seen.append(args) or function(*args)

    monkeypatch.setattr("emodna.model.training.acceleration.shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(torch, "compile", compile_)
    fit_small(*pair, tmp_path / "run", compile=True, steps=3)
    assert len(seen) == 3


def test_a_cuda_graph_needs_cuda(pair: Stores, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--cuda-graph: needs a CUDA device; this run is on cpu$"):
        fit_small(*pair, tmp_path / "run", cuda_graph=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_a_real_compilation(pair: Stores, tmp_path: Path) -> None:
    for run in ("a", "b"):
        fit_small(*pair, tmp_path / run, method="source-only", compile=True, steps=3)
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == (tmp_path / "b" / "model.safetensors").read_bytes()
