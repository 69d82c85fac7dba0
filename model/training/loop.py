"""Train a method: the training loop, a single step, and the check that losses stay finite."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
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
from emodna.pipeline.errors import Remedy

_NO_STEP: Final = -1
_REMEDY: Final = Remedy("try a smaller {learning_rate}")

#: A function that returns a context; the context yields a function that returns True once there is a stop request.
StopListener = Callable[[], AbstractContextManager[Callable[[], bool]]]


@contextmanager
def never_stop() -> Iterator[Callable[[], bool]]:
    """Return the context of a training without stop requests."""
    yield lambda: False


@dataclass(frozen=True, slots=True)
class Timing:
    """Steps and training time of this session."""

    steps: int
    seconds: float
    blocked_seconds: float
    """Part of `seconds` spent waiting for batches."""


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
    """Train a method in place, from the checkpoint in the run folder if there is one.

    After a stop request, saves a checkpoint and raises KeyboardInterrupt. For `residency` see `Loader`. `compile`
    compiles the losses by torch.compile; `cuda_graph` captures each step as a CUDA graph.

    Raises TrainingError if a loss or a weight is not finite (the last checkpoint is kept), RunError for a damaged
    checkpoint, ConfigError and StoreError as `Loader`, ConfigError if the losses cannot be compiled.
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
        if (failure := update.guard.find_first()) is not None:
            raise _make_not_finite_error(*failure, source, target, run)
        tensors = (*method.parameters(), *method.buffers())
        if weights and not all(bool(tensor.isfinite().all()) for tensor in tensors):
            raise TrainingError(f"the weights are not finite after step {done}", remedy=_REMEDY)

    def save_checkpoint() -> None:
        check_finite(weights=True)
        log.sync()
        state.save(run.resume, done)

    with Loader(source, target, range(done, steps), device, residency) as loader, stop_listener() as is_stop_requested:
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
            if snapshots.is_due(done):  # before the checkpoint: a resume needs all snapshots up to it
                check_finite(weights=True)
                snapshots.save(method, done)
            stopping = is_stop_requested()
            if (stopping or time.monotonic() - saved > config.checkpoint_seconds) and done < steps:
                save_checkpoint()
                saved = time.monotonic()
                if stopping:
                    raise KeyboardInterrupt
        timing = Timing(done - first, time.perf_counter() - start, loader.blocked_seconds)
    save_checkpoint()
    return timing


class Update:
    """A function that takes a training step, with the optimisers of all parameter groups, without a device sync."""

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
        """Take a step in a phase; return the terms of the loss and their total, 0-d each."""
        method = self._method
        method.phase = phase.name
        terms: dict[str, Tensor] = {}
        for turn in phase.turns or (tuple(self._optimizers),):
            method.turn = turn
            for optimizer in self._optimizers.values():
                optimizer.zero_grad(set_to_none=True)
            turn_terms = self._losses(source, target, self._step)
            self._check(turn_terms)
            torch.stack(list(turn_terms.values())).sum().backward()  # type: ignore[no-untyped-call]
            for name in turn:
                self._optimizers[name].step()
            terms |= turn_terms
        terms["total"] = torch.stack([term.detach() for term in terms.values()]).sum()
        self.guard.check(self._step, terms)
        self._step += 1
        return terms

    def _check(self, terms: dict[str, Tensor]) -> None:
        is_valid = isinstance(terms, Mapping) and terms and "total" not in terms
        if not is_valid or not all(isinstance(term, Tensor) and term.ndim == 0 for term in terms.values()):
            problem = "losses() must return named 0-d tensors, none with the name total"
            raise TrainingError(problem, where=f"method {self._method.name}")

    def undo_steps(self) -> AbstractContextManager[None]:
        """Return a context that undoes the steps within it when it ends."""
        state = TrainingState(self._method, self._optimizers, self._device)
        return state.undo_steps([self._step, *self.guard.tensors])


class FiniteGuard:
    """A record on the device of the first step and term that was not finite, kept without a device sync."""

    def __init__(self, device: torch.device) -> None:
        self._step = torch.tensor(_NO_STEP, device=device)
        self._term = torch.tensor(0, device=device)
        self._names: list[str] = []  # the terms of all phases so far
        self._indices: dict[tuple[str, ...], Tensor] = {}

    @property
    def tensors(self) -> tuple[Tensor, Tensor]:
        """Step and term on record, 0-d int64 each."""
        return self._step, self._term

    def check(self, step: Tensor, terms: Mapping[str, Tensor]) -> None:
        """Record the first term of a step that is not finite, in place as CUDA graphs require."""
        indices = self._index_terms(tuple(terms))
        finite = torch.stack([term.detach() for term in terms.values()]).isfinite()
        first = ~finite.all() & (self._step == _NO_STEP)
        self._step.copy_(torch.where(first, step, self._step))
        self._term.copy_(torch.where(first, indices[finite.int().argmin()], self._term))

    def _index_terms(self, names: tuple[str, ...]) -> Tensor:
        """Return the indices of terms in `_names`, copied to the device once, before a step is captured."""
        if names not in self._indices:
            self._names += [name for name in names if name not in self._names]
            indices = [self._names.index(name) for name in names]
            self._indices[names] = torch.tensor(indices, device=self._term.device)
        return self._indices[names]

    def find_first(self) -> tuple[str, int] | None:
        """Return the first term that was not finite and its step, counted from 0, or None. Syncs the device."""
        step = int(self._step.item())
        return None if step == _NO_STEP else (self._names[int(self._term.item())], step)


def _make_not_finite_error(
    term: str, step: int, source: Stream[LabelledBatch], target: Stream[Batch], run: RunFolder
) -> TrainingError:
    """Write the ids of the batches to the run folder, and return an error that names the file."""
    batches = {"source": source.ids(step), "target": target.ids(step)}
    write_json(run.not_finite, {"term": term, "step": step + 1, **batches})
    problem = f"the loss is not finite at step {step + 1} (term {term}, batch listed in {run.not_finite})"
    return TrainingError(problem, remedy=_REMEDY)
