"""Save and load tensors with metadata as safetensors: atomically, with a checksum, without pickle."""

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


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write tensors and JSON metadata to one file, atomically; equal content gives equal bytes."""
    content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # A single key: safetensors writes several in random order.
    header = json.dumps({"facts": dict(metadata), "sha256": _compute_digest(content, metadata)})
    write_atomically(path, safetensors.torch.save(content, {_METADATA: header}))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the metadata of a file; raise a RunError if it is missing or damaged."""
    if not path.is_file():
        raise RunError("not found", where=path)
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[_METADATA])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata: dict[str, Any] = header["facts"]
        is_intact = header["sha256"] == _compute_digest(tensors, metadata)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"damaged, or not written by emodna: {error}", where=path) from error
    if not is_intact:
        raise RunError("damaged: its checksum does not match", where=path, remedy="train the run again")
    return tensors, metadata


def _compute_digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> str:
    content = json.dumps(dict(metadata), sort_keys=True).encode() + safetensors.torch.save(dict(tensors))
    return hashlib.sha256(content).hexdigest()


def add_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors to `prefix.name`."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def strip_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with this prefix, by their names without it."""
    return {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}


def load_module(module: nn.Module, tensors: Mapping[str, Tensor], path: Path, *, assign: bool = False) -> None:
    """Load a module's state; raise a RunError if a tensor does not fit. A module on the meta device needs `assign`."""
    expected = {name: (tensor.dtype, tensor.shape) for name, tensor in module.state_dict().items()}
    found = {name: (tensor.dtype, tensor.shape) for name, tensor in tensors.items()}
    if expected != found:
        wrong = next(name for name in sorted({*expected, *found}) if expected.get(name) != found.get(name))
        raise RunError(f"damaged, or of another version: tensor {wrong} does not fit the method", where=path)
    module.load_state_dict(dict(tensors), assign=assign)


def get_random_state(device: torch.device) -> dict[str, Tensor]:
    """Return the state of the random number generators that training uses, by device type."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_random_state(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Restore the states of `get_random_state`."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
