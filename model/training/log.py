"""Records of a training while it runs: what a watcher is told, metrics.jsonl, and TensorBoard events."""

import importlib.util
import json
import logging
import math
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Protocol

from emodna.model.errors import RunError
from emodna.model.metrics import SCORE_NAMES
from emodna.pipeline.errors import explain_os_error
from emodna.pipeline.files import write_atomically

_LOG: Final = logging.getLogger(__name__)


class FitCallback(Protocol):
    """Is told how training goes."""

    def on_start(self, done: int) -> None:
        """The first step comes next, or the one behind a checkpoint of so many steps."""

    def on_log(self, step: int, values: Mapping[str, float]) -> None:
        """So many steps are done; the last one's terms, their total, and what the method monitors."""


class MetricsLog:
    """metrics.jsonl: a line of values every so many steps; a resumed run goes on where its checkpoint was.

    Lines behind the `keep` steps of the checkpoint, and half a line, are dropped. A damaged log is a `RunError`.
    """

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
        """Add a line; a value that is not finite, as a method may monitor, is null in it."""
        line = {"step": step, **{name: value if math.isfinite(value) else None for name, value in values.items()}}
        with self._path.open("a") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")

    def sync(self) -> None:
        """Make sure that the lines so far outlive a power cut: a checkpoint counts on them."""
        with self._path.open("a") as file:
            os.fsync(file.fileno())


class EventRecorder:
    """A watcher that also writes TensorBoard events into the run's folder, if wanted and possible, until that fails."""

    def __init__(self, callback: FitCallback, folder: Path, config: Mapping[str, Any], *, wanted: bool) -> None:
        self._callback, self._folder, self._config = callback, folder, config
        self._wanted = wanted and importlib.util.find_spec("tensorboard") is not None
        self._writer: Any = None  # a SummaryWriter, which has no types

    def on_start(self, done: int) -> None:
        """Begin a file of events with the configuration; TensorBoard forgets what earlier files say of later steps."""
        if self._wanted:
            with self._stop_recording_on_error():
                from torch.utils.tensorboard import SummaryWriter

                self._writer = SummaryWriter(str(self._folder), purge_step=done + 1)
                text = f"```\n{json.dumps(self._config, indent=1)}\n```"
                self._writer.add_text("config", text, 0)
        self._callback.on_start(done)

    def on_log(self, step: int, values: Mapping[str, float]) -> None:
        """Record a line of the log."""
        self._add_scalars(values, step)
        self._callback.on_log(step, values)

    def record_result(self, result: Mapping[str, Any]) -> None:
        """Record the scores at the last step, and the settings as hyper-parameters beside them."""
        scores = {f"score/{name}": result[name] for name in SCORE_NAMES if result[name] is not None}
        self._add_scalars(scores, result["steps"])
        decisive = self._config["decisive"]
        settings = {**decisive, "supervision": result["supervision"], **decisive["train"], **decisive["method_config"]}
        plain = {key: value for key, value in settings.items() if isinstance(value, bool | int | float | str)}
        if self._writer is not None:
            with self._stop_recording_on_error():
                from torch.utils.tensorboard.summary import hparams

                # SummaryWriter.add_hparams would put them into a folder of their own.
                for summary in hparams(plain, scores):  # type: ignore[no-untyped-call]
                    self._writer.file_writer.add_summary(summary, 0)

    def close(self) -> None:
        """Write no more."""
        if self._writer is not None:
            with self._stop_recording_on_error():
                self._writer.close()
                self._writer = None

    def _add_scalars(self, values: Mapping[str, float], step: int) -> None:
        if self._writer is not None:
            with self._stop_recording_on_error():
                for name, value in values.items():
                    self._writer.add_scalar(name, value, step)
                self._writer.flush()

    @contextmanager
    def _stop_recording_on_error(self) -> Iterator[None]:
        """Give up on events where they cannot be written: they are not worth a run."""
        try:
            yield
        except (OSError, ImportError) as error:
            writer, self._wanted, self._writer = self._writer, False, None
            if writer is not None:
                with suppress(OSError):  # it tries to write once more
                    writer.file_writer.close()
            reason = explain_os_error(error) if isinstance(error, OSError) else str(error)
            _LOG.warning("no more TensorBoard events in %s: %s; the run goes on without", self._folder, reason)


@contextmanager
def record_events(
    callback: FitCallback, folder: Path, config: Mapping[str, Any], *, wanted: bool
) -> Iterator[EventRecorder]:
    """Write events beside what a watcher is told; see `EventRecorder`."""
    recorder = EventRecorder(callback, folder, config, wanted=wanted)
    usual = threading.excepthook

    def hook(failure: threading.ExceptHookArgs) -> None:
        # SummaryWriter's own thread raises an error of the disk in ours, too.
        if not (type(failure.thread).__module__.startswith("tensorboard") and isinstance(failure.exc_value, OSError)):
            usual(failure)

    threading.excepthook = hook
    try:
        yield recorder
    finally:
        recorder.close()
        threading.excepthook = usual
