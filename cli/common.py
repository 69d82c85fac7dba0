"""Consoles, output formats and the entry point, shared by all commands."""

import fcntl
import io
import json
import logging
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click
from rich import markup
from rich.console import Console

from emodna.cli.wording import word_error
from emodna.pipeline.errors import EmodnaError, StoreError, explain_os_error

if TYPE_CHECKING:
    import torch

    from emodna.pipeline.store import FeatureStore


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # `run` handles it


#: Standard output for results, standard error for progress and logs.
out = _Console(highlight=False, soft_wrap=True, emoji=False)
err = _Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


def escape(text: object) -> str:
    """Escape a string from outside (an id, a path, a label) for the terminal and for rich's markup."""
    return markup.escape(escape_controls(text))


#: First characters of formulas in spreadsheets.
_FORMULA: Final = ("=", "+", "-", "@")


def escape_controls(text: object) -> str:
    """Escape the unprintable characters of a string from outside."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in str(text))


def to_csv_cell(value: object) -> object:
    """Return a CSV cell: unprintable characters are escaped, and text like a formula gets a leading apostrophe."""
    if value is None or isinstance(value, int | float):
        return value
    text = escape_controls(value)
    with suppress(ValueError):
        float(text)
        return text
    return f"'{text}" if text.startswith(_FORMULA) else text


def print_json(document: object) -> None:
    """Print one JSON document on standard output."""
    click.echo(format_json(document))


def format_json(document: object) -> str:
    """Return a document as JSON text. Values of other types, such as dates of a user's table, become strings."""
    return json.dumps(_replace_nonfinite(document), indent=2, allow_nan=False, default=str)


def _replace_nonfinite(value: object) -> object:
    """Replace nan and inf, which JSON lacks, by None."""
    if isinstance(value, dict):
        return {str(key): _replace_nonfinite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_replace_nonfinite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_fields(values: Mapping[str, object]) -> None:
    """Print one line per value: "-" for None, a dict as counts, a list joined by semicolons."""
    width = max(map(len, values))
    for name, value in values.items():
        match value:
            case dict():
                value = ", ".join(f"{count} {key}" for key, count in value.items()) or None
            case list():
                value = "; ".join(map(str, value)) or None
        out.print(f"[bold]{escape(name):{width}}[/bold]  {'-' if value is None else escape(value)}")


def is_quiet() -> bool:
    """Return True if -q is given."""
    return not logging.getLogger("emodna").isEnabledFor(logging.WARNING)


def note(text: str) -> None:
    """Print a note on standard error, unless -q is given."""
    if not is_quiet():
        err.print(text)


def detail(text: str) -> None:
    """Print a detail on standard error if -v is given."""
    if logging.getLogger("emodna").isEnabledFor(logging.INFO):
        err.print(text)


def print_warning(warning: EmodnaError) -> None:
    """Print a warning as one line on standard error, unless -q is given."""
    note(f"[yellow]warning:[/yellow] {escape(word_error(warning))}")


def print_error(error: Exception | str) -> None:
    """Print an error as one line on standard error. An `EmodnaError` names options of the running command."""
    err.print(f"[red]error:[/red] {escape(word_error(error) if isinstance(error, EmodnaError) else error)}")


def run(command: click.Command, *, resumable: str | None = None) -> NoReturn:
    """Run a command as a program and exit: 1 after an error, 2 after a usage error, 130 after Ctrl-C.

    Errors are printed as one line. `resumable` is a hint for the user: how to continue after an interruption. The text
    of a KeyboardInterrupt replaces it.
    """
    _reserve_stdout()
    # By default, torch's threads spin while they wait for each other, and nearly stop next to other programs.
    # OpenMP reads this variable when torch loads it. Worker processes inherit it.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for terminals that cannot show a name
    try:
        # Not command.main(): it turns a closed pipe into exit 1.
        with command.make_context(Path(sys.argv[0]).name, sys.argv[1:]) as context:
            code = command.invoke(context)
    except click.exceptions.Exit as exit_:
        code = exit_.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort) as stop:
        err.print(f"interrupted; {escape(stop.args[0]) if stop.args else resumable or 'nothing is lost'}")
        code = 130
    except BrokenPipeError:  # the reader, such as `head`, has ended
        _discard_stdout()
        code = 0
    except (OSError, MemoryError) as error:
        reason = explain_os_error(error) if isinstance(error, OSError) else "not enough memory: free some"
        where = getattr(error, "filename", None)
        print_error("; ".join(filter(None, [reason if where is None else f"{where}: {reason}", resumable])))
        code = 1
        try:
            sys.stdout.flush()
        except OSError:  # at exit, Python would try again and print its own message
            _discard_stdout()
    sys.exit(code if isinstance(code, int) else 0)


def _discard_stdout() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _reserve_stdout() -> None:
    """Redirect what C libraries print on standard output to standard error: libsndfile prints messages there."""
    if sys.stdout is sys.__stdout__ and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.flush()
        duplicate = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 3)
        try:
            os.dup2(2, 1)
        except OSError:  # standard error is closed
            with Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), 1)
        sys.stdout = open(duplicate, "w", encoding=sys.stdout.encoding)  # noqa: SIM115, PTH123 (open until exit)


@contextmanager
def stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Treat the first Ctrl-C as a stop request: the yielded callable then returns True. A second one interrupts."""
    requested = threading.Event()

    def request_stop(_signal: int, _frame: object) -> None:
        requested.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, request_stop)
    try:
        yield requested.is_set
    finally:
        signal.signal(signal.SIGINT, before)


def resolve_device(name: str) -> "torch.device":
    """Return the device of a name; "auto" is CUDA if available, else the CPU. Raise an EmodnaError if unavailable."""
    import torch

    cards = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    if name == "auto":
        name = "cuda" if cards else "cpu"
    valid = ["cpu", *(["cuda"] if cards else []), *cards]
    if name not in valid:
        raise EmodnaError("not available here", field="device", value=name, valid=["auto", *valid])
    return torch.device(name)


def open_store(cache: Path, store: str) -> "FeatureStore":
    """Open the store of a corpus, or at a path. Raise a StoreError if it is missing, ambiguous or damaged."""
    from emodna.pipeline.catalogue import resolve_store
    from emodna.pipeline.store import FeatureStore

    path = resolve_store(cache, store)
    detail(f"store {escape(path)}")
    return FeatureStore(path)


def describe_store(path: Path) -> dict[str, Any]:
    """Return corpus, feature set and counts of a store; None for unknown values of a damaged store."""
    from emodna.pipeline.store.snapshot import read_snapshot

    summary: dict[str, Any] = {"corpus": path.parent.name, "feature_set": path.name}
    summary |= dict.fromkeys(("utterances", "rejected", "audio_seconds", "bytes", "fingerprint", "created"))
    summary |= {"store": str(path.absolute()), "error": None}
    try:
        found = read_snapshot(path)
    except StoreError as error:
        return summary | {"error": str(error)}
    summary |= {name: found.counts[name] for name in ("utterances", "rejected")}
    summary |= {"audio_seconds": found.counts["seconds"], "bytes": sum(file.size for file in found.files)}
    return summary | {"fingerprint": found.fingerprint, "created": found.created}


def count_cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
