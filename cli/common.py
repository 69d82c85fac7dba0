"""Options, consoles, errors as one line and TOML configuration, shared by all commands."""

import fcntl
import functools
import inspect
import io
import json
import logging
import math
import os
import signal
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import click
from rich.console import Console
from rich.markup import escape

from emodna.pipeline.errors import EmodnaError, StoreError, explain_os_error

if TYPE_CHECKING:
    import torch

    from emodna.pipeline.store import FeatureStore

Returned = TypeVar("Returned")


class _Console(Console):
    """rich's own, but a closed pipe is for `run` to deal with."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


#: Results go to standard output, progress and logs to standard error.
out = _Console(highlight=False, soft_wrap=True, emoji=False)
err = _Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)

#: Where `--config` leaves its table `set` in click's context.
CONFIG_SETTINGS = "emodna.settings"

CONTEXT = {"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 120}


def escape(text: object) -> str:
    """Make a string from outside (an id, a path, a label) harmless for the terminal and for rich's markup."""
    return escape(visible(text))


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


def common_options(command: Callable[..., Returned]) -> Callable[..., Returned]:
    """Add --json, and -v and -q, which are obeyed here; a command that names `verbose` is told."""
    is_told = "verbose" in inspect.signature(command).parameters

    @functools.wraps(command)
    def with_verbosity(*, quiet: bool, verbose: bool, **others: Any) -> Returned:
        set_verbosity(verbose=verbose, quiet=quiet)
        return command(**others, verbose=verbose) if is_told else command(**others)

    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else on stdout."),
        click.option("-q", "--quiet", is_flag=True, help="No progress, no warnings."),
        click.option("-v", "--verbose", is_flag=True, help="More on stderr."),
        click.version_option(package_name="emodna"),
    ):
        option(with_verbosity)
    return with_verbosity


cache_option = click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("cache"),
    envvar="EMODNA_CACHE",
    show_envvar=True,
    help="Folder of the feature stores.",
)


class Seconds(click.FloatRange):
    """A length of time: nan and inf, which are floats, too, are none."""

    def __init__(self) -> None:
        super().__init__(min=0, min_open=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Take what is finite."""
        number = super().convert(value, param, ctx)
        return number if math.isfinite(number) else self.fail(f"{number} is not a length in s.", param, ctx)


class FeatureSetOption(click.Option):
    """An option whose help lists the feature sets in place of {names}; they are loaded when somebody asks for it."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Option and help, as click lists them."""
        from emodna.pipeline.features import FEATURE_SETS

        record = super().get_help_record(ctx)
        return record and (record[0], record[1].replace("{names}", ", ".join(FEATURE_SETS)))


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


def parse_settings(settings: tuple[str, ...]) -> dict[str, str]:
    """Key -> value as text, of --set; those of the command line win over those of --config."""
    parsed: dict[str, str] = dict(click.get_current_context().meta.get(CONFIG_SETTINGS, {}))
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise click.BadParameter(f"{setting!r} is not of the form key=value", param_hint="--set")
        parsed[key.strip()] = value.strip()
    return parsed


def set_verbosity(*, verbose: bool, quiet: bool) -> None:
    """Set how much goes to standard error."""
    level = logging.ERROR if quiet else logging.INFO if verbose else logging.WARNING
    logging.getLogger("emodna").setLevel(level)


def environment(prefix: str) -> Callable[[click.Command], click.Command]:
    """Let each option of a command be set by a variable named by its long name: PREFIX_LONG_NAME."""

    def name_variables(command: click.Command) -> click.Command:
        for parameter in command.params:
            if isinstance(parameter, click.Option) and parameter.envvar is None and parameter.expose_value:
                parameter.envvar = f"{prefix}_{_key(parameter).upper().replace('-', '_')}"
        return command

    return name_variables


def _read_config(context: click.Context, _parameter: click.Parameter, path: Path | None) -> None:
    if path is None:
        return
    try:
        content = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise EmodnaError(f"--config {path}: {error}") from error
    options = [each for each in context.command.params if isinstance(each, click.Option) and each.expose_value]
    valid = {_key(option): option for option in options}
    unknown = sorted(set(content) - set(valid))
    if unknown:
        hint = " (constants of the training go below [set])" if "set" in valid else ""
        raise EmodnaError(f"--config {path}: unknown key {unknown[0]}; valid: {', '.join(sorted(valid))}{hint}")
    # Its table `set` and the command line's --set are merged key by key.
    settings = content.pop("set", {})
    if not isinstance(settings, dict):
        raise EmodnaError(f"--config {path}: set: must be a table, [set] with key = value")
    context.meta[CONFIG_SETTINGS] = {key: json.dumps(value) for key, value in settings.items()}
    context.default_map = {str(valid[key].name): _checked(path, valid[key], value) for key, value in content.items()}


config_option = click.option(
    "--config",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    is_eager=True,
    expose_value=False,
    callback=_read_config,
    help="TOML file with this command's long options as keys; options given here win over it.",
)


def _checked(path: Path, option: click.Option, value: object) -> object:
    """Return a value of the TOML file, if its type is the option's: click would make text of anything."""
    valid: list[type]
    match option.type:
        case click.types.IntParamType():
            valid, name = [int], "a whole number"
        case click.types.FloatParamType():
            valid, name = [int, float], "a number"
        case click.types.BoolParamType():
            valid, name = [bool], "true or false"
        case _:
            valid, name = [str], "text"
    values = value if option.multiple and isinstance(value, list) else [value]
    if all(type(each) in valid for each in values):  # a bool is no int here
        return values if option.multiple else value
    raise EmodnaError(f"--config {path}: --{_key(option)} {value!r}: must be {name}")


def _key(parameter: click.Parameter) -> str:
    """TOML key of an option: its long name."""
    return max(parameter.opts, key=len).lstrip("-")


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
