"""One seed decides everything, by a generator of its own for each purpose: dropping one leaves the others' draws."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derived_seed(seed: int, purpose: str) -> int:
    """A 63-bit seed for one purpose."""
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@contextmanager
def seeded(seed: int, purpose: str) -> Iterator[None]:
    """Draw parameters in here from a generator of their own, and leave the global one as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derived_seed(seed, purpose))  # the CPU's alone: parameters are made there
        yield


@contextmanager
def forked(purpose: str, device: torch.device) -> Iterator[None]:
    """Draw in here from a random state of its own, and leave the device's global one as it was.

    It follows from the global state, so there is nothing more to save for a resume.
    """
    on_cuda = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_cuda else []):
        state = torch.cuda.get_rng_state(device) if on_cuda else torch.get_rng_state()
        digest = hashlib.sha256(purpose.encode() + bytes(state.tolist())).digest()
        seed = int.from_bytes(digest[:8], "big") >> 1
        if on_cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        else:
            torch.default_generator.manual_seed(seed)
        yield
