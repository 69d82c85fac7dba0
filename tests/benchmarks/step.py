"""Measure each part of a full-size training step of 64 + 64 utterances of 188 frames."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import torch
from torch import nn

from emodna.model.methods import METHODS
from emodna.model.training.acceleration import compile_losses, keep_freed_memory
from tests.benchmarks.inputs import Inputs, add_store_options


class Clock:
    """A clock that sums the time of named parts."""

    def __init__(self, device: torch.device) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._device = device

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time the body, including the work of the device."""
        self._wait()
        began = time.perf_counter()
        yield
        self._wait()
        self.seconds[name] += time.perf_counter() - began

    def watch(self, module: nn.Module, name: str) -> None:
        """Time every call of a module."""
        forward: Callable[..., Any] = module.forward

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return forward(*args, **kwargs)

        module.forward = wrapper  # type: ignore[method-assign]

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize()


@click.command()
@add_store_options
@click.option("--method", "method_name", type=click.Choice(list(METHODS)), default="emo-dna", show_default=True)
@click.option("--threads", default=1, show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--steps", default=20, show_default=True)
@click.option("--compile", is_flag=True, help="Compile the losses; networks are not timed separately.")
def main(
    cache: Path, src: str, tgt: str, method_name: str, threads: int, device: str, steps: int, compile: bool
) -> None:
    """Time the parts of training steps on prepared stores."""
    torch.set_num_threads(threads)
    where = torch.device(device)
    if where.type == "cpu":
        keep_freed_memory()
    inputs = Inputs(cache, src, tgt)
    method = METHODS[method_name](inputs.source.dim, METHODS[method_name].defaults, 0).to(where).train()
    optimizer = torch.optim.RAdam(method.parameters(), lr=1e-3, foreach=True)
    losses = compile_losses(method.losses, where) if compile else method.losses

    def step(clock: Clock, number: int) -> None:
        with clock.part("batches from the store"):
            batches = inputs.sources.batch(number).to(where), inputs.targets.batch(number).to(where)
        with clock.part("forward and losses"):
            terms = losses(*batches, torch.tensor(number, device=where))
            total = torch.stack(list(terms.values())).sum()
        with clock.part("backward"):
            optimizer.zero_grad(set_to_none=True)
            total.backward()  # type: ignore[no-untyped-call]
        with clock.part("optimiser"):
            optimizer.step()

    clock = Clock(where)
    began = time.perf_counter()
    for number in range(3):
        step(clock, number)
    warm_up = time.perf_counter() - began
    clock.seconds.clear()
    for name, module in method.named_modules():
        if not compile and name in ("network.backbone", "network.encoder", "corpus_encoder"):
            clock.watch(module, f"  forward of {name}")
    for number in range(steps):
        step(clock, number)
    whole = sum(spent for part, spent in clock.seconds.items() if not part.startswith(" "))
    click.echo(
        f"{method_name}, {src} -> {tgt}, 64 + 64 utterances, {inputs.framer.frames} frames, {device}, "
        f"{threads} thread(s)"
    )
    if compile:
        click.echo(f"{'first three steps, with the compilation':42} {1e3 * warm_up:8.1f} ms")
    click.echo(f"{'step':42} {1e3 * whole / steps:8.1f} ms")
    for part, spent in sorted(clock.seconds.items(), key=lambda item: (item[0][0] == " ", -item[1])):
        click.echo(f"{part:42} {1e3 * spent / steps:8.1f} ms {100 * spent / whole:6.1f} %")


if __name__ == "__main__":
    main()
