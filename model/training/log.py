"""Report the progress of a training to a callback, to metrics.jsonl and to TensorBoard."""

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
from emodna.model.label import read_exposure
from emodna.model.metrics import SCORE_NAMES
from emodna.pipeline.errors import explain_os_error
from emodna.pipeline.files import write_atomically

_LOG: Final = logging.getLogger(__name__)


class FitCallback(Protocol):
    """An object that is informed about the progress of a training."""

    def on_start(self, done: int) -> None:
        """Handle the start of training, after `done` steps of an earlier session."""

    def on_log(self, step: int, values: Mapping[str, float]) -> None:
        """Handle the values of a step, counted from 1: the terms, their total and `Method.monitor`."""


class MetricsLog:
    """The file metrics.jsonl: one line of values per logged step.

    Keeps the lines of the first `keep` steps, which the checkpoint covers, and drops the rest. Raises RunError if the
    file is damaged.
    """

    def __init__(self, path: Path, keep: int) -> None:
        self._path = path
        lines = path.read_text(errors="replace").splitlines(keepends=True) if keep and path.exists() else []
        if lines and not lines[-1].endswith("\n"):
            lines.pop()  # incomplete after a kill
        write_atomically(path, "".join(line for line in lines if self._parse_step(line) <= keep).encode())

    def _parse_step(self, line: str) -> int:
        try:
            return int(json.loads(line)["step"])
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(f"damaged: {line.strip()!r:.40} is not a line of the log", where=self._path) from error

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add a line; values that are not finite become null."""
        line = {"step": step, **{name: value if math.isfinite(value) else None for name, value in values.items()}}
        with self._path.open("a") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")

    def sync(self) -> None:
        """Flush all lines to the disk: a checkpoint relies on them after a power cut."""
        with self._path.open("a") as file:
            os.fsync(file.fileno())


class EventRecorder:
    """A callback that also writes TensorBoard events into the run's folder, if tensorboard is installed."""

    def __init__(self, callback: FitCallback, folder: Path, config: Mapping[str, Any], *, enabled: bool) -> None:
        self._callback, self._folder, self._config = callback, folder, config
        self._is_enabled = enabled and importlib.util.find_spec("tensorboard") is not None
        self._writer: Any = None  # an untyped SummaryWriter

    def on_start(self, done: int) -> None:
        """Start a file of events with the configuration. TensorBoard then ignores later steps of earlier files."""
        if self._is_enabled:
            with self._stop_recording_on_error():
                from torch.utils.tensorboard import SummaryWriter

                self._writer = SummaryWriter(str(self._folder), purge_step=done + 1)
                self._writer.add_text("config", f"```\n{json.dumps(self._config, indent=1)}\n```", 0)
        self._callback.on_start(done)

    def on_log(self, step: int, values: Mapping[str, float]) -> None:
        """Record the values of a step."""
        self._add_scalars(values, step)
        self._callback.on_log(step, values)

    def record_result(self, result: Mapping[str, Any]) -> None:
        """Record the scores at the last step, with the settings as hyper-parameters."""
        scores = {f"score/{name}": result[name] for name in SCORE_NAMES if result[name] is not None}
        self._add_scalars(scores, result["steps"])
        decisive = self._config["decisive"]
        marks = {"supervision": result["supervision"], "exposure": read_exposure(result, result["tgt"])}
        settings = {**decisive, **marks, **decisive["train"], **decisive["method_config"]}
        scalars = {key: value for key, value in settings.items() if isinstance(value, bool | int | float | str)}
        if self._writer is not None:
            with self._stop_recording_on_error():
                from torch.utils.tensorboard.summary import hparams

                # SummaryWriter.add_hparams would write them to another folder.
                for summary in hparams(scalars, scores):  # type: ignore[no-untyped-call]
                    self._writer.file_writer.add_summary(summary, 0)

    def close(self) -> None:
        """Close the file of events."""
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
        try:
            yield
        except (OSError, ImportError) as error:
            writer, self._is_enabled, self._writer = self._writer, False, None
            if writer is not None:
                with suppress(OSError):  # closing tries to write again
                    writer.file_writer.close()
            reason = explain_os_error(error) if isinstance(error, OSError) else str(error)
            _LOG.warning("%s: TensorBoard events cannot be written: %s; the run continues", self._folder, reason)


@contextmanager
def record_events(
    callback: FitCallback, folder: Path, config: Mapping[str, Any], *, enabled: bool
) -> Iterator[EventRecorder]:
    """Yield an `EventRecorder` and close it at the end."""
    recorder = EventRecorder(callback, folder, config, enabled=enabled)
    original_hook = threading.excepthook

    def hook(failure: threading.ExceptHookArgs) -> None:
        # SummaryWriter raises an error of the disk both in its own thread and in the caller's.
        if not (type(failure.thread).__module__.startswith("tensorboard") and isinstance(failure.exc_value, OSError)):
            original_hook(failure)

    threading.excepthook = hook
    try:
        yield recorder
    finally:
        recorder.close()
        threading.excepthook = original_hook
