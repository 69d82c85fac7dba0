"""The training loop, from top to bottom."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Final

import torch

from emodna.model.config import TrainConfig
from emodna.model.data.batch import Batch, LabelledBatch
from emodna.model.data.loader import Loader
from emodna.model.data.resident import Residency
from emodna.model.data.stream import Stream
from emodna.model.errors import TrainingError
from emodna.model.methods.base import Method
from emodna.model.methods.optimizers import make_optimizers
from emodna.model.methods.phases import phase_at
from emodna.model.run_folder import RunFolder, write_json
from emodna.model.seeding import derived_seed
from emodna.model.training.allocator import keep_freed_memory
from emodna.model.training.captured import CapturedUpdate
from emodna.model.training.finite import NotFinite, all_finite
from emodna.model.training.log import MetricsLog
from emodna.model.training.snapshots import Snapshots
from emodna.model.training.state import TrainingState
from emodna.model.training.step import Update
from emodna.model.training.watcher import Watcher

#: Ids of a batch that an error names; the run's folder has all.
_IDS_IN_ERROR: Final = 2


@dataclass(frozen=True, slots=True)
class Timing:
    """How long this process trained."""

    steps: int
    seconds: float
    blocked_seconds: float
    """Of these, waiting for batches."""


#: Makes a context in which the function that it gives tells whether to stop.
Listening = Callable[[], AbstractContextManager[Callable[[], bool]]]


@contextmanager
def never_stopping() -> Iterator[Callable[[], bool]]:
    """Train to the last step."""
    yield lambda: False


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
    watcher: Watcher,
    listening: Listening = never_stopping,
    residency: Residency = "auto",
    compile: bool = False,
    cuda_graph: bool = False,
) -> Timing:
    """Train a method in place, from its checkpoint in the run folder if there is one.

    Parameters
    ----------
    listening
        Is entered for the steps, and gives a function that is asked after each of them; if true, a checkpoint is
        written and KeyboardInterrupt raised.
    residency
        See `Loader`.
    compile, cuda_graph
        Whether the losses go through torch.compile, and whether a step is a CUDA graph.

    Raises
    ------
    TrainingError
        A term of the loss is no longer finite; names it, the step and the batch. The last checkpoint stays.
    RunError
        A damaged checkpoint.
    ConfigError, StoreError
        See `Loader`; ConfigError also where the losses cannot be compiled.
    """
    if device.type == "cpu":
        keep_freed_memory()
    torch.manual_seed(derived_seed(seed, "training"))
    method.to(device).train()
    method.steps = steps
    optimizers = make_optimizers(method.parameter_groups(), config, capturable=cuda_graph)
    state = TrainingState(method, optimizers, device)
    done = state.restore(run.resume, steps)
    log = MetricsLog(run.metrics, keep=done)
    snapshots = Snapshots(run.snapshots, config.snapshot_every, steps)
    snapshots.go_on_from(done)
    plain = Update(method, optimizers, device, done=done, compile=compile)
    update = CapturedUpdate(plain) if cuda_graph else plain
    run.not_finite.unlink(missing_ok=True)
    saved = time.monotonic()
    watcher.began(done)

    def check(*, weights: bool) -> None:
        if (found := update.guard.found()) is not None:
            raise _not_finite(found, source, target, run)
        if weights and not all_finite(method):
            raise TrainingError(f"the weights are no longer finite after step {done}; a smaller learning_rate may help")

    with Loader(source, target, range(done, steps), device, residency) as loader, listening() as stop:
        began, first = time.perf_counter(), done
        while done < steps:
            source_batch, target_batch = next(loader)
            terms = update(source_batch, target_batch, phase_at(method.phases, done, steps))
            done += 1
            if done % config.log_every == 0 or done == steps:
                check(weights=False)
                values = {name: value.item() for name, value in {**terms, **method.monitor()}.items()}
                log.write(done, values)
                watcher.logged(done, values)
            if snapshots.due(done):  # before a checkpoint, which stands for all snapshots up to it
                check(weights=True)
                snapshots.save(method, done)
            stopping = stop()
            if (stopping or time.monotonic() - saved > config.checkpoint_seconds) and done < steps:
                check(weights=True)
                log.sync()
                state.save(run.resume, done)
                saved = time.monotonic()
                if stopping:
                    raise KeyboardInterrupt
        timing = Timing(done - first, time.perf_counter() - began, loader.blocked_seconds)
    check(weights=True)
    log.sync()
    state.save(run.resume, done)
    return timing


def _not_finite(
    found: NotFinite, source: Stream[LabelledBatch], target: Stream[Batch], run: RunFolder
) -> TrainingError:
    """What to say of a loss that is not finite; the ids of its batches are left in the run's folder."""
    ids = {"source": source.ids(found.step), "target": target.ids(found.step)}
    write_json(run.not_finite, {"term": found.term, "step": found.step + 1, **ids})
    some = "; ".join(f"{name} {', '.join(each[:_IDS_IN_ERROR])}, ..." for name, each in ids.items())
    return TrainingError(
        f"the loss is no longer finite: term {found.term} at step {found.step + 1}, batch of {some} (all in "
        f"{run.not_finite}); a smaller learning_rate may help (the last checkpoint, if there is one, is kept)"
    )
