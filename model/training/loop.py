"""The training loop, from top to bottom; below it one step, and the watch over its loss."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from emodna.model.config import TrainConfig
from emodna.model.data.batch import Batch, LabelledBatch
from emodna.model.data.loading import Loader, Residency
from emodna.model.data.stream import Stream
from emodna.model.errors import TrainingError
from emodna.model.methods.base import Method, Phase, find_phase
from emodna.model.reproducibility import derive_seed
from emodna.model.run_folder import RunFolder, write_json
from emodna.model.training.acceleration import CapturedUpdate, compile_losses, keep_freed_memory
from emodna.model.training.log import FitCallback, MetricsLog
from emodna.model.training.snapshots import Snapshots
from emodna.model.training.state import TrainingState, make_optimizers

#: Ids of a batch that an error names; the run's folder has all.
_IDS_IN_ERROR: Final = 2
_NO_STEP: Final = -1

#: Makes a context in which the function that it gives tells whether to stop.
StopListener = Callable[[], AbstractContextManager[Callable[[], bool]]]


@contextmanager
def never_stop() -> Iterator[Callable[[], bool]]:
    """Train to the last step."""
    yield lambda: False


@dataclass(frozen=True, slots=True)
class Timing:
    """Time that this process trained."""

    steps: int
    seconds: float
    blocked_seconds: float
    """Part of it that was spent waiting for batches."""


def train(
    method: Method,
    source: Stream[LabelledBatch],
    target: Stream[Batch],
    config: TrainConfig,
    *,
    steps: int,
    seed: int,
    device: torch.device,
    run: RunFolder,
    callback: FitCallback,
    stop_listener: StopListener = never_stop,
    residency: Residency = "auto",
    compile: bool = False,
    cuda_graph: bool = False,
) -> Timing:
    """Train a method in place, from its checkpoint in the run folder if there is one.

    `stop_listener` is entered for the steps, and gives a function that is asked after each of them; if true, a checkpoint
    is written and KeyboardInterrupt raised. For `residency` see `Loader`. With `compile` the losses go through
    torch.compile, with `cuda_graph` a step is a CUDA graph.

    Raises TrainingError if a term of the loss is no longer finite: it names the term, the step and the batch, and the
    last checkpoint stays; RunError for a damaged checkpoint; ConfigError and StoreError as `Loader`; ConfigError also
    where the losses cannot be compiled.
    """
    if device.type == "cpu":
        keep_freed_memory()
    torch.manual_seed(derive_seed(seed, "training"))
    method.to(device).train()
    method.steps = steps
    optimizers = make_optimizers(method.parameter_groups(), config, capturable=cuda_graph)
    state = TrainingState(method, optimizers, device)
    first = done = state.restore(run.resume, steps)
    log = MetricsLog(run.metrics, keep=done)
    snapshots = Snapshots(run.snapshots, config.snapshot_every, steps)
    snapshots.rewind_to(done)
    update = Update(method, optimizers, device, done=done, compile=compile)
    take_step = CapturedUpdate(update, update.undo_steps) if cuda_graph else update
    run.not_finite.unlink(missing_ok=True)
    saved = time.monotonic()
    callback.on_start(done)

    def check_finite(*, weights: bool) -> None:
        if (found := update.guard.found()) is not None:
            raise _make_not_finite_error(*found, source, target, run)
        if weights and not is_finite(method):
            raise TrainingError(f"the weights are no longer finite after step {done}; a smaller learning_rate may help")

    def save_checkpoint() -> None:
        check_finite(weights=True)
        log.sync()
        state.save(run.resume, done)

    with Loader(source, target, range(done, steps), device, residency) as loader, stop_listener() as stop:
        start = time.perf_counter()
        while done < steps:
            source_batch, target_batch = next(loader)
            terms = take_step(source_batch, target_batch, find_phase(method.phases, done, steps))
            done += 1
            if done % config.log_every == 0 or done == steps:
                check_finite(weights=False)
                values = {name: value.item() for name, value in {**terms, **method.monitor()}.items()}
                log.write(done, values)
                callback.on_log(done, values)
            if snapshots.is_due(done):  # before a checkpoint, which stands for all snapshots up to it
                check_finite(weights=True)
                snapshots.save(method, done)
            stopping = stop()
            if (stopping or time.monotonic() - saved > config.checkpoint_seconds) and done < steps:
                save_checkpoint()
                saved = time.monotonic()
                if stopping:
                    raise KeyboardInterrupt
        timing = Timing(done - first, time.perf_counter() - start, loader.blocked_seconds)
    save_checkpoint()
    return timing


class Update:
    """Moves a method's parameters by one step, by the optimiser of each group; nothing in it waits for the device."""

    def __init__(
        self,
        method: Method,
        optimizers: Mapping[str, Optimizer],
        device: torch.device,
        *,
        done: int = 0,
        compile: bool = False,
    ) -> None:
        self._method, self._optimizers, self._device = method, optimizers, device
        self._losses = compile_losses(method.losses, device) if compile else method.losses
        self._step = torch.tensor(done, device=device)
        self.guard = FiniteGuard(device)

    def __call__(self, source: LabelledBatch, target: Batch, phase: Phase) -> dict[str, Tensor]:
        """Take a step in a phase; return the terms of the loss, and their total."""
        method = self._method
        method.phase = phase.name
        terms: dict[str, Tensor] = {}
        for turn in phase.turns or (tuple(self._optimizers),):
            method.turn = turn
            for optimizer in self._optimizers.values():
                optimizer.zero_grad(set_to_none=True)
            of_turn = self._losses(source, target, self._step)  # forward
            self._check(of_turn)
            torch.stack(list(of_turn.values())).sum().backward()  # type: ignore[no-untyped-call]
            for name in turn:
                self._optimizers[name].step()
            terms |= of_turn
        terms["total"] = torch.stack([term.detach() for term in terms.values()]).sum()
        self.guard.look(self._step, terms)
        self._step += 1
        return terms

    def _check(self, terms: dict[str, Tensor]) -> None:
        """Refuse what is no objective, as another package's method may give; looks at no value."""
        named = isinstance(terms, Mapping) and terms and "total" not in terms
        if not named or not all(isinstance(term, Tensor) and term.ndim == 0 for term in terms.values()):
            raise TrainingError(
                f"method {self._method.name}: losses() must return named 0-d tensors, none of them called total"
            )

    def undo_steps(self) -> AbstractContextManager[None]:
        """Undo at the end the steps that are taken within."""
        state = TrainingState(self._method, self._optimizers, self._device)
        return state.undo_steps([self._step, *self.guard.tensors])


class FiniteGuard:
    """Remembers on the device, without waiting for it, the first step and term that was not finite."""

    def __init__(self, device: torch.device) -> None:
        self._step = torch.tensor(_NO_STEP, device=device)
        self._term = torch.tensor(0, device=device)
        self._names: list[str] = []  # of all terms that it has looked at: those of one phase are not those of another
        self._places: dict[tuple[str, ...], Tensor] = {}

    @property
    def tensors(self) -> tuple[Tensor, Tensor]:
        """All that it remembers."""
        return self._step, self._term

    def look(self, step: Tensor, terms: Mapping[str, Tensor]) -> None:
        """Look at the terms of one step. What it keeps is written in place: a captured CUDA graph replays this."""
        places = self._index_terms(tuple(terms))
        finite = torch.stack([term.detach().isfinite() for term in terms.values()])
        first = ~finite.all() & (self._step == _NO_STEP)
        self._step.copy_(torch.where(first, step, self._step))
        self._term.copy_(torch.where(first, places[finite.int().argmin()], self._term))

    def _index_terms(self, names: tuple[str, ...]) -> Tensor:
        """Where the names stand among all: put on the device when they are first seen, before a step is captured."""
        if names not in self._places:
            self._names += [name for name in names if name not in self._names]
            places = [self._names.index(name) for name in names]
            self._places[names] = torch.tensor(places, device=self._term.device)
        return self._places[names]

    def found(self) -> tuple[str, int] | None:
        """Ask the device for the first term that was not finite, and its step from 0; None while all was finite."""
        step = int(self._step.item())
        return None if step == _NO_STEP else (self._names[int(self._term.item())], step)


def is_finite(module: nn.Module) -> bool:
    """Tell whether the parameters and buffers of a module are finite; waits for the device."""
    return all(bool(tensor.isfinite().all()) for tensor in (*module.parameters(), *module.buffers()))


def _make_not_finite_error(
    term: str, step: int, source: Stream[LabelledBatch], target: Stream[Batch], run: RunFolder
) -> TrainingError:
    """Describe a loss that is not finite; leave the ids of its batches in the run's folder."""
    ids = {"source": source.ids(step), "target": target.ids(step)}
    write_json(run.not_finite, {"term": term, "step": step + 1, **ids})
    some = "; ".join(f"{name} {', '.join(each[:_IDS_IN_ERROR])}, ..." for name, each in ids.items())
    return TrainingError(
        f"the loss is no longer finite: term {term} at step {step + 1}, batch of {some} (all in "
        f"{run.not_finite}); a smaller learning_rate may help (the last checkpoint, if there is one, is kept)"
    )
