"""Reproducible runs: random draws that follow from one seed, plain float32, deterministic algorithms.

Each purpose draws from a generator of its own: dropping one leaves the draws of the others.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive_seed(seed: int, purpose: str) -> int:
    """Return a 63-bit seed for one purpose."""
    return _first_63_bits(f"{seed}/{purpose}".encode())


@contextmanager
def use_seed(seed: int, purpose: str) -> Iterator[None]:
    """Draw parameters in here from a generator of their own, and leave the global one as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(seed, purpose))  # the CPU's alone: parameters are made there
        yield


@contextmanager
def fork_random_state(purpose: str, device: torch.device) -> Iterator[None]:
    """Draw in here from a random state that follows from the device's global one, which is left as it was."""
    on_cuda = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_cuda else []):
        state = torch.cuda.get_rng_state(device) if on_cuda else torch.get_rng_state()
        seed = _first_63_bits(purpose.encode() + bytes(state.tolist()))
        if on_cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        else:
            torch.default_generator.manual_seed(seed)
        yield


def _first_63_bits(content: bytes) -> int:
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big") >> 1


@contextmanager
def force_float32() -> Iterator[None]:
    """Keep out TF32, which is on by default in cuDNN's convolutions and LSTMs, and whatever autocast the caller is in.

    A similarity is divided by a temperature of 0.01: TF32's rounding would become errors of a tenth. Matrix products do
    without TF32 anyway.
    """
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        with disable_autocast():
            yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


@contextmanager
def disable_autocast() -> Iterator[None]:
    """Compute in here in the tensors' own precision, whatever autocast the caller is in; of this thread alone."""
    with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
        yield


@contextmanager
def use_deterministic_algorithms(*, wanted: bool) -> Iterator[None]:
    """Let torch use deterministic algorithms only, where that is wanted."""
    before = torch.are_deterministic_algorithms_enabled()
    if wanted:  # cuBLAS asks for it, before its first use
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(wanted or before)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
