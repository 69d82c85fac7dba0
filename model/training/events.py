"""TensorBoard events of a run, where the extra `tensorboard` is installed.

They say what metrics.jsonl says, for those who watch with TensorBoard: a run neither reads them nor stops for them.
They are written in the thread that trains: torch's SummaryWriter has one of its own, where a full disk ends in a
traceback that nobody can catch.
"""

import importlib.util
import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from emodna.model.score_names import SCORE_NAMES
from emodna.model.training.watcher import Watcher
from emodna.pipeline.errors import explained

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary

_LOG: Final = logging.getLogger(__name__)
#: What the first event of a file has to say.
_VERSION: Final = "brain.Event:2"
#: Tags of the scores begin with it.
_SCORE: Final = "score"


class EventFile:
    """A file of events, complete behind each line of the log.

    Parameters
    ----------
    folder
        Of the run. Readers take its files in the order of their names.
    """

    def __init__(self, folder: Path) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event = Event
        self._file = (folder / f"events.out.tfevents.{time.time_ns():019}").open("xb")
        self._writer = RecordWriter(self._file)

    def begin(self, done: int) -> None:
        """Begin behind a checkpoint of so many steps: readers forget what earlier files say of later ones."""
        from tensorboard.compat.proto.event_pb2 import SessionLog

        self._write(file_version=_VERSION)
        self._write(step=done + 1, session_log=SessionLog(status=SessionLog.START))

    def add_scalars(self, values: Mapping[str, float], step: int) -> None:
        """Add values by their names."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        scalars = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self.add(Summary(value=scalars), step)

    def add(self, summary: "Summary", step: int) -> None:
        """Add any summary."""
        self._write(step=step, summary=summary)
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, **content: Any) -> None:
        self._writer.write(self._event(wall_time=time.time(), **content).SerializeToString())


class Recorder:
    """A watcher that also writes what it is told as events, until that fails.

    Parameters
    ----------
    watcher
        Is told, too.
    folder
        Of the run.
    config
        Content of config.json.
    wanted
        Whether to write events, if tensorboard is installed.
    """

    def __init__(self, watcher: Watcher, folder: Path, config: Mapping[str, Any], *, wanted: bool) -> None:
        self._watcher = watcher
        self._folder = folder
        self._config = config
        self._wanted = wanted and importlib.util.find_spec("tensorboard") is not None
        self._file: EventFile | None = None

    def began(self, done: int) -> None:
        """Open a file of events, with the configuration as text."""
        if self._wanted:
            with self._or_go_on_without():
                self._file = EventFile(self._folder)
                self._file.begin(done)
                self._add_configuration(self._file)
        self._watcher.began(done)

    def logged(self, step: int, values: Mapping[str, float]) -> None:
        """Record a line of the log."""
        if self._file is not None:
            with self._or_go_on_without():
                self._file.add_scalars(values, step)
        self._watcher.logged(step, values)

    def finished(self, result: Mapping[str, Any]) -> None:
        """Record the scores at the last step, and the settings as hyper-parameters beside them."""
        if self._file is not None:
            with self._or_go_on_without():
                scores = {f"{_SCORE}/{name}": result[name] for name in SCORE_NAMES if result[name] is not None}
                self._file.add_scalars(scores, result["steps"])
                self._add_settings(self._file, scores)

    def close(self) -> None:
        """Write no more."""
        if self._file is not None:
            with self._or_go_on_without():
                self._file.close()
                self._file = None

    def _add_configuration(self, file: EventFile) -> None:
        from torch.utils.tensorboard.summary import text

        content = f"```\n{json.dumps(self._config, indent=1)}\n```"
        file.add(text("config", content), 0)  # type: ignore[no-untyped-call]

    def _add_settings(self, file: EventFile, scores: Mapping[str, float]) -> None:
        from torch.utils.tensorboard.summary import hparams

        decisive = self._config["decisive"]
        own = {"supervision": self._config["supervision"]}
        settings = {**decisive, **own, **decisive["train"], **decisive["method_config"]}
        plain = {key: value for key, value in settings.items() if isinstance(value, bool | int | float | str)}
        for summary in hparams(plain, dict(scores)):  # type: ignore[no-untyped-call]
            file.add(summary, 0)

    @contextmanager
    def _or_go_on_without(self) -> Iterator[None]:
        """Give up on events where they cannot be written: they are not worth a run."""
        try:
            yield
        except (OSError, ImportError) as error:
            file, self._wanted, self._file = self._file, False, None
            if file is not None:
                with suppress(OSError):  # it may try to write once more
                    file.close()
            reason = explained(error) if isinstance(error, OSError) else str(error)
            _LOG.warning("no more TensorBoard events in %s: %s; the run goes on without", self._folder, reason)


@contextmanager
def recording(watcher: Watcher, folder: Path, config: Mapping[str, Any], *, wanted: bool) -> Iterator[Recorder]:
    """Write events beside what a watcher is told; see `Recorder`."""
    recorder = Recorder(watcher, folder, config, wanted=wanted)
    try:
        yield recorder
    finally:
        recorder.close()
