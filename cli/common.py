"""Consoles, output, errors and the way to run a program, shared by all commands."""

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

from emodna.pipeline.errors import EmodnaError, StoreError, explain_os_error

if TYPE_CHECKING:
    import torch

    from emodna.pipeline.store import FeatureStore


class _Console(Console):
    """rich's own, but a closed pipe is for `run` to deal with."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


#: Results go to standard output, progress and logs to standard error.
out = _Console(highlight=False, soft_wrap=True, emoji=False)
err = _Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


def escape(text: object) -> str:
    """Make a string from outside (an id, a path, a label) harmless for the terminal and for rich's markup."""
    return markup.escape(visible(text))


#: What makes a spreadsheet take a cell for a formula.
_FORMULA: Final = ("=", "+", "-", "@")


def visible(text: object) -> str:
    """Spell out what a string from outside would do to a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in str(text))


def to_csv_cell(value: object) -> object:
    """Return a cell of CSV: text is spelled out as for a terminal, and an apostrophe keeps it from being a formula."""
    if value is None or isinstance(value, int | float):
        return value
    text = visible(value)
    with suppress(ValueError):
        float(text)
        return text
    return f"'{text}" if text.startswith(_FORMULA) else text


def print_json(document: object) -> None:
    """Print one JSON document, and nothing else, on standard output."""
    click.echo(format_json(document))


def format_json(document: object) -> str:
    """Return a JSON document, as all commands print it; columns that a user's table brought along may be anything."""
    return json.dumps(_replace_nonfinite(document), indent=2, allow_nan=False, default=str)


def _replace_nonfinite(value: object) -> object:
    """Return a document with null in place of numbers that JSON does not know."""
    if isinstance(value, dict):
        return {str(key): _replace_nonfinite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_replace_nonfinite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_fields(facts: Mapping[str, object]) -> None:
    """Print a line per fact, "-" for nothing, a dict as counts: long ones run on, so that they can be searched."""
    width = max(map(len, facts))
    for name, value in facts.items():
        match value:
            case dict():
                value = ", ".join(f"{count} {counted}" for counted, count in value.items()) or None
            case list():
                value = "; ".join(map(str, value)) or None
        out.print(f"[bold]{escape(name):{width}}[/bold]  {'-' if value is None else escape(value)}")


def is_quiet() -> bool:
    """Return True with -q."""
    return not logging.getLogger("emodna").isEnabledFor(logging.WARNING)


def note(text: str) -> None:
    """Tell something on standard error, unless -q."""
    if not is_quiet():
        err.print(text)


def detail(text: str) -> None:
    """Tell something on standard error that only -v asks for."""
    if logging.getLogger("emodna").isEnabledFor(logging.INFO):
        err.print(text)


def print_error(error: Exception | str) -> None:
    """Print a user's mistake as one line."""
    err.print(f"[red]error:[/red] {escape(error)}")


def run(command: click.Command, *, resumable: str | None = None) -> NoReturn:
    """Run a command as a program: a user's mistake is one line and exit 1, its usage exit 2, Ctrl-C exit 130.

    `resumable` says what a run that was interrupted leaves, and how to go on.
    """
    _reserve_stdout()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that cannot show a name still gets its line
    try:
        # Not command.main(): it turns a closed pipe into exit 1.
        with command.make_context(Path(sys.argv[0]).name, sys.argv[1:]) as context:
            code = command.invoke(context)
    except click.exceptions.Exit as exit_:
        code = exit_.exit_code
    except EmodnaError as error:
        print_error(error)
        code = 1
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        err.print(f"interrupted; {resumable or 'nothing is lost'}")
        code = 130
    except BrokenPipeError:  # `| head` has seen enough
        _abandon_stdout()
        code = 0
    except (OSError, MemoryError) as error:
        reason = explain_os_error(error) if isinstance(error, OSError) else "not enough memory: free some"
        where = getattr(error, "filename", None)
        print_error("; ".join(filter(None, [reason if where is None else f"{where}: {reason}", resumable])))
        code = 1
        try:
            sys.stdout.flush()
        except OSError:  # it is what failed: Python would try once more at the end, and say so in its own words
            _abandon_stdout()
    sys.exit(code if isinstance(code, int) else 0)


def _abandon_stdout() -> None:
    """Let what is still to be written on standard output go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _reserve_stdout() -> None:
    """Let only Python print on standard output: libsndfile prints there what it finds wrong in some damaged files."""
    if sys.stdout is sys.__stdout__ and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.flush()
        kept = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 3)
        try:
            os.dup2(2, 1)
        except OSError:  # standard error is closed
            with Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), 1)
        sys.stdout = open(kept, "w", encoding=sys.stdout.encoding)  # noqa: SIM115, PTH123 (it lives as long as we do)


@contextmanager
def stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a wish to stop, which the yielded function tells; a second one stops at once."""
    wished = threading.Event()

    def wish(_signal: int, _frame: object) -> None:
        wished.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, wish)
    try:
        yield wished.is_set
    finally:
        signal.signal(signal.SIGINT, before)


def resolve_device(name: str) -> "torch.device":
    """Return the device of --device: auto is CUDA if there is any, else the CPU. `EmodnaError` if it is not here."""
    import torch

    cards = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    if name == "auto":
        name = "cuda" if cards else "cpu"
    valid = ["cpu", *(["cuda"] if cards else []), *cards]
    if name not in valid:
        raise EmodnaError(f"--device {name}: not available here; valid: auto, {', '.join(valid)}")
    return torch.device(name)


def open_store(cache: Path, store: str) -> "FeatureStore":
    """Open a store by its corpus's name or its path; a `StoreError` if there is none, several, or a damaged one."""
    from emodna.pipeline.catalogue import resolve_store
    from emodna.pipeline.store import FeatureStore

    path = resolve_store(cache, store)
    detail(f"store {escape(path)}")
    return FeatureStore(path)


def describe_store(path: Path) -> dict[str, Any]:
    """Return corpus, features and counts of a store; what a damaged one does not tell is None."""
    from emodna.pipeline.store.snapshot import read_snapshot

    facts: dict[str, Any] = {"corpus": path.parent.name, "feature_set": path.name}
    facts |= dict.fromkeys(("utterances", "rejected", "audio_seconds", "bytes", "fingerprint", "created"))
    facts |= {"store": str(path.absolute()), "error": None}
    try:
        snapshot = read_snapshot(path)
    except StoreError as error:
        return facts | {"error": str(error)}
    return facts | {
        "utterances": snapshot.counts["utterances"],
        "rejected": snapshot.counts["rejected"],
        "audio_seconds": snapshot.counts["seconds"],
        "bytes": sum(file.size for file in snapshot.files),
        "fingerprint": snapshot.fingerprint,
        "created": snapshot.created,
    }


def count_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
