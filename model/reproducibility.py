"""Reproducible runs: random draws from one seed, plain float32, deterministic algorithms."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive_seed(seed: int, purpose: str) -> int:
    """Return a 63-bit seed for one purpose, so that its draws do not depend on other purposes."""
    return _first_63_bits(f"{seed}/{purpose}".encode())


@contextmanager
def use_seed(seed: int, purpose: str) -> Iterator[None]:
    """Seed the random draws of parameters within the context. Restore the global random state after it."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(seed, purpose))  # CPU only: parameters are made there
        yield


@contextmanager
def fork_random_state(purpose: str, device: torch.device) -> Iterator[None]:
    """Draw within the context from a state derived from the device's random state, which is restored after it."""
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
    """Compute in full float32 within the context: without TF32 in cuDNN and without autocast.

    By default cuDNN's convolutions and LSTMs use TF32, and matrix products do not. Division by a temperature of 0.01
    turns the rounding of TF32 into errors of 0.1.
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
    """Disable autocast of this thread within the context."""
    with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
        yield


@contextmanager
def use_deterministic_algorithms(*, enabled: bool) -> Iterator[None]:
    """Restrict torch to deterministic algorithms within the context if `enabled`."""
    before = torch.are_deterministic_algorithms_enabled()
    if enabled:  # cuBLAS needs it before its first use
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(enabled or before)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
