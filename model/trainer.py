"""The training loop, from top to bottom."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

import torch
from torch import Tensor

from emodna.model import checkpoint
from emodna.model.config import TrainConfig
from emodna.model.errors import RunError, TrainingError
from emodna.model.methods.base import Method
from emodna.model.run import RunFolder
from emodna.model.seeding import derived_seed
from emodna.model.stream import SourceStream, TargetStream
from emodna.pipeline.files import write_atomically

_NO_STEP: Final = -1


class Watcher(Protocol):
    """Is told how training goes."""

    def logged(self, step: int, values: Mapping[str, float]) -> None:
        """So many steps are done; the last one's terms, their total, and what the method monitors."""


def never() -> bool:
    """Train to the last step."""
    return False


def train(
    method: Method,
    source: SourceStream,
    target: TargetStream,
    config: TrainConfig,
    *,
    steps: int,
    seed: int,
    device: torch.device,
    run: RunFolder,
    watcher: Watcher,
    stop: Callable[[], bool] = never,
) -> None:
    """Train a method in place, from its checkpoint in the run folder if there is one.

    Parameters
    ----------
    stop
        Is asked after each step; if true, a checkpoint is written and KeyboardInterrupt raised.

    Raises
    ------
    TrainingError
        A term of the loss is no longer finite; names it and the step. The last checkpoint stays.
    RunError
        A damaged checkpoint.
    """
    torch.manual_seed(derived_seed(seed, "training"))
    method.to(device).train()
    optimizer = torch.optim.RAdam(
        method.parameters(),
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
        weight_decay=config.weight_decay,
        foreach=True,
    )
    done = _restore(method, optimizer, run.resume, device, steps)
    log = _Log(run.metrics, keep=done)
    guard = _FiniteGuard(device)
    step = torch.tensor(done, device=device)
    saved = time.monotonic()
    while done < steps:
        source_batch = source.batch(done).to(device)
        target_batch = target.batch(done).to(device)

        terms = method.losses(source_batch, target_batch, step)
        total = torch.stack(list(terms.values())).sum()
        optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

        guard.look(step, terms)
        step += 1
        done += 1
        if done % config.log_every == 0 or done == steps:
            guard.check()
            values = {name: value.item() for name, value in {**terms, "total": total, **method.monitor()}.items()}
            log.write(done, values)
            watcher.logged(done, values)
        stopping = stop()
        if (stopping or time.monotonic() - saved > config.checkpoint_seconds) and done < steps:
            guard.check()
            _save(method, optimizer, run.resume, device, done)
            saved = time.monotonic()
            if stopping:
                raise KeyboardInterrupt
    if not all(bool(parameter.isfinite().all()) for parameter in method.parameters()):
        raise TrainingError(f"the weights are no longer finite after step {done}; a smaller learning_rate may help")
    _save(method, optimizer, run.resume, device, done)


class _FiniteGuard:
    """Remembers on the device, without a word to the host, the first step and term that was not finite."""

    def __init__(self, device: torch.device) -> None:
        self._step = torch.tensor(_NO_STEP, device=device)
        self._term = torch.tensor(0, device=device)
        self._names: list[str] = []

    def look(self, step: Tensor, terms: Mapping[str, Tensor]) -> None:
        """Look at the terms of one step."""
        self._names = list(terms)
        finite = torch.stack([term.detach().isfinite() for term in terms.values()])
        first = ~finite.all() & (self._step == _NO_STEP)
        self._step = torch.where(first, step, self._step)
        self._term = torch.where(first, finite.int().argmin(), self._term)

    def check(self) -> None:
        """Ask the device.

        Raises
        ------
        TrainingError
            Some term was not finite.
        """
        step = int(self._step.item())
        if step != _NO_STEP:
            name = self._names[int(self._term.item())]
            raise TrainingError(
                f"the loss is no longer finite: term {name} at step {step + 1}; a smaller learning_rate may help "
                "(the last checkpoint, if there is one, is kept)"
            )


class _Log:
    """metrics.jsonl: a line of values every so many steps; a resumed run goes on where its checkpoint was."""

    def __init__(self, path: Path, keep: int) -> None:
        self._path = path
        lines = path.read_text(errors="replace").splitlines(keepends=True) if keep and path.exists() else []
        if lines and not lines[-1].endswith("\n"):
            lines.pop()  # a kill cut it short
        write_atomically(path, "".join(line for line in lines if self._step(line) <= keep).encode())

    def _step(self, line: str) -> int:
        try:
            return int(json.loads(line)["step"])
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(f"{self._path}: damaged: {line.strip()!r:.40} is not a line of the log") from error

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add a line."""
        with self._path.open("a") as file:
            file.write(json.dumps({"step": step, **values}, allow_nan=False) + "\n")


def _save(method: Method, optimizer: torch.optim.Optimizer, path: Path, device: torch.device, done: int) -> None:
    tensors = {
        **checkpoint.prefixed("method", method.state_dict()),
        **checkpoint.prefixed("optimizer", checkpoint.optimizer_tensors(optimizer, method)),
        **checkpoint.prefixed("random", checkpoint.random_state(device)),
    }
    checkpoint.save_tensors(path, tensors, {"step": done})


def _restore(method: Method, optimizer: torch.optim.Optimizer, path: Path, device: torch.device, steps: int) -> int:
    """Restore everything that the next step depends on; return the number of steps done."""
    if not path.exists():
        return 0
    tensors, facts = checkpoint.load_tensors(path)
    checkpoint.load_module(method, checkpoint.without_prefix("method", tensors), path)
    try:
        checkpoint.load_optimizer(optimizer, method, checkpoint.without_prefix("optimizer", tensors))
        checkpoint.set_random_state(checkpoint.without_prefix("random", tensors), device)
        done = int(facts["step"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise RunError(f"{path}: damaged ({error})") from error
    if not 0 <= done <= steps:
        raise RunError(f"{path}: damaged (step {done} of {steps})")
    return done
