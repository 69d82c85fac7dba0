"""Tensors on disk: safetensors and JSON only, never a pickle, and never half a file."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from emodna.model.errors import RunError
from emodna.pipeline.files import write_atomically

_METADATA: Final = "emodna"


def save_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write tensors and a JSON document in one file, atomically: an earlier file stands until the new one is safe."""
    content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # One key: safetensors writes several in no order of their own, and the same state should give the same bytes.
    described = json.dumps({"facts": dict(facts), "sha256": _compute_digest(content, facts)})
    write_atomically(path, safetensors.torch.save(content, {_METADATA: described}))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote. A missing or damaged file is a `RunError`."""
    if not path.is_file():
        raise RunError(f"{path}: no such file")
    try:
        with safe_open(path, framework="pt") as file:
            described = json.loads((file.metadata() or {})[_METADATA])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        facts: dict[str, Any] = described["facts"]
        intact = described["sha256"] == _compute_digest(tensors, facts)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}: damaged, or not written by emodna ({error})") from error
    if not intact:
        raise RunError(f"{path}: damaged (its checksum does not match)")
    return tensors, facts


def _compute_digest(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> str:
    content = json.dumps(dict(facts), sort_keys=True).encode() + safetensors.torch.save(dict(tensors))
    return hashlib.sha256(content).hexdigest()


def add_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under `prefix.name`."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def strip_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those tensors that `add_prefix` named, under their own names."""
    return {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}


def load_module(module: nn.Module, tensors: Mapping[str, Tensor], path: Path, *, assign: bool = False) -> None:
    """Load a state, by `assign` into a module without memory; a `RunError` names the first tensor that does not fit."""
    expected = {name: (tensor.dtype, tensor.shape) for name, tensor in module.state_dict().items()}
    found = {name: (tensor.dtype, tensor.shape) for name, tensor in tensors.items()}
    if expected != found:
        odd = next(name for name in sorted({*expected, *found}) if expected.get(name) != found.get(name))
        raise RunError(f"{path}: damaged, or not of this version: tensor {odd} does not fit the method")
    module.load_state_dict(dict(tensors), assign=assign)


def get_random_state(device: torch.device) -> dict[str, Tensor]:
    """State of the generators that training draws from."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_random_state(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Restore what `get_random_state` gave."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
