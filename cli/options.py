"""Commands whose help groups their options and ends with examples, and the options that several commands share."""

import functools
import inspect
import json
import logging
import math
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from click.core import ParameterSource

from emodna.cli.common import print_error
from emodna.cli.wording import word_error
from emodna.pipeline.errors import EmodnaError
from emodna.pipeline.files import expand_home
from emodna.pipeline.tasks import AROUSAL, BUILT_IN_TASKS, EMOTION_TASK, TASKS, Task, make_emotion_task, read_task_file

Returned = TypeVar("Returned")

#: Key of click's context under which the table `set` of a configuration file is kept.
_CONFIG_SETTINGS: Final = "emodna.settings"
_CONTEXT: Final = {"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 120}


class HomePath(click.Path):
    """A path in which ~ and ~user are expanded. A shell expands neither variables, nor --option=~/x, nor TOML."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the expanded path; fail if there is no such home folder."""
        try:
            return super().convert(expand_home(os.fspath(value)), param, ctx)
        except EmodnaError as error:
            self.fail(f"{word_error(error)}.", param, ctx)


#: Types of arguments and options: any path, the same as text, a file, a folder.
PATH: Final = HomePath(path_type=Path)
TEXT_PATH: Final = HomePath()
FILE: Final = HomePath(path_type=Path, dir_okay=False)
FOLDER: Final = HomePath(path_type=Path, file_okay=False)


class CommandError(click.ClickException):
    """An `EmodnaError` in the words of the running command; exit code 1."""

    def show(self, _file: object = None) -> None:
        """Print the error as one line on standard error."""
        print_error(self.message)


class Command(click.Command):
    """A command whose help has groups of options and examples, and whose errors name its options.

    Parameters
    ----------
    groups
        Title -> names of the group's parameters, separated by spaces. The group "Common" has all others.
    examples
        Command lines at the end of the help.
    environment
        Prefix of the environment variables that set the options: PREFIX_LONG_NAME.
    """

    def __init__(
        self,
        *args: Any,
        groups: Mapping[str, str] | None = None,
        examples: tuple[str, ...] = (),
        environment: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **{"context_settings": dict(_CONTEXT), **kwargs})
        self.groups = {title: names.split() for title, names in (groups or {}).items()}
        self.examples = examples
        for option in self.params if environment else ():
            if isinstance(option, click.Option) and option.envvar is None and option.expose_value:
                option.envvar = f"{environment}_{_toml_key(option).upper().replace('-', '_')}"

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options by group; the common ones last."""
        records = {
            str(parameter.name): record
            for parameter in self.get_params(ctx)
            if isinstance(parameter, click.Option) and (record := parameter.get_help_record(ctx)) is not None
        }
        for title, names in self.groups.items():
            with formatter.section(f"{title} options"):
                formatter.write_dl([records.pop(name) for name in names])
        with formatter.section("Common options"):
            formatter.write_dl(list(records.values()))

    def format_epilog(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"{'':{formatter.current_indent}}{example}\n")

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command line; an `EmodnaError` of a callback becomes a `CommandError`."""
        with _word_errors():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an `EmodnaError` becomes a `CommandError`."""
        with _word_errors():
            return super().invoke(ctx)


@contextmanager
def _word_errors() -> Iterator[None]:
    try:
        yield
    except EmodnaError as error:
        raise CommandError(word_error(error)) from error


class Group(Command, click.Group):
    """A command with subcommands; its help lists them before its options and examples."""

    command_class = Command

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the subcommands, then the options."""
        self.format_commands(ctx, formatter)
        super().format_options(ctx, formatter)


def common_options(command: Callable[..., Returned]) -> Callable[..., Returned]:
    """Add --json, --version, -q and -v. The latter two are applied here; `verbose` is also passed on, if accepted."""
    takes_verbose = "verbose" in inspect.signature(command).parameters

    @functools.wraps(command)
    def with_verbosity(*, quiet: bool, verbose: bool, **others: Any) -> Returned:
        set_verbosity(verbose=verbose, quiet=quiet)
        return command(**others, verbose=verbose) if takes_verbose else command(**others)

    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON document on stdout."),
        click.option("-q", "--quiet", is_flag=True, help="Print no progress and no warnings."),
        click.option("-v", "--verbose", is_flag=True, help="Print more on stderr."),
        click.version_option(package_name="emodna"),
    ):
        option(with_verbosity)
    return with_verbosity


def set_verbosity(*, verbose: bool, quiet: bool) -> None:
    """Set how much is printed on standard error."""
    level = logging.ERROR if quiet else logging.INFO if verbose else logging.WARNING
    logging.getLogger("emodna").setLevel(level)


cache_option = click.option(
    "--cache",
    type=FOLDER,
    default=Path("cache"),
    envvar="EMODNA_CACHE",
    show_envvar=True,
    help="Folder of the feature stores.",
)

ffmpeg_option = click.option("--ffmpeg", is_flag=True, help="Decode m4a, amr, webm and the like by ffmpeg.")

device_option = click.option(
    "--device", default="auto", metavar="DEVICE", help="cpu, cuda, cuda:N, or auto: CUDA if available, else the CPU."
)


class Seconds(click.FloatRange):
    """A positive, finite length in s."""

    def __init__(self) -> None:
        super().__init__(min=0, min_open=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value as a float; fail on nan and inf."""
        number = super().convert(value, param, ctx)
        return number if math.isfinite(number) else self.fail(f"{number} is not a length in s.", param, ctx)


class Channel(click.IntRange):
    """The number of a channel, from 0, or `all`."""

    def __init__(self) -> None:
        super().__init__(min=0)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value as a number, or the word all; fail on anything else."""
        if value == "all":
            return value
        if isinstance(value, str) and not value.lstrip("-").isdecimal():
            self.fail(f"{value!r} is neither a number nor all.", param, ctx)
        return super().convert(value, param, ctx)


class Decibels(click.types.FloatParamType):
    """A positive, finite level in dB, or `none`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value as a float, or the word none; fail on anything else."""
        if value == "none":
            return "none"
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not 0 < number < math.inf:
            self.fail(f"{value!r} is neither a level above 0 dB nor none.", param, ctx)
        return number


class FeatureSetOption(click.Option):
    """An option whose help lists the feature sets in place of {names}. They are imported only for the help."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return the option and its help."""
        from emodna.pipeline.features import EncoderSet, list_feature_set_names

        names = ", ".join([*list_feature_set_names(), EncoderSet.kind])
        record = super().get_help_record(ctx)
        return record and (record[0], record[1].replace("{names}", names))


class TaskFile(HomePath):
    """The path of a task file, which is read."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the task of the file. Raises EmodnaError as `read_task_file`."""
        return read_task_file(Path(super().convert(value, param, ctx)))


class EmotionClasses(click.types.StringParamType):
    """Emotions or presets, separated by commas."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the task with these classes. Raises EmodnaError as `make_emotion_task`."""
        return make_emotion_task(super().convert(value, param, ctx).split(","))


#: The types of options that name a task, or define one.
TASK: Final = click.Choice([*TASKS, EMOTION_TASK])
TASK_FILE: Final = TaskFile()
CLASSES: Final = EmotionClasses()


def task_options(command: Callable[..., Returned]) -> Callable[..., Returned]:
    """Add --task, --task-file and --classes. The command gets them as `task`: a task, or the name of task emotion."""

    @functools.wraps(command)
    def with_task(*, task: str | None, task_file: Task | None, classes: Task | None, **others: Any) -> Returned:
        return command(task=_choose_task(task, task_file, classes), **others)

    for option in (
        click.option("--task", type=TASK, help=f"Labels to learn.  [default: {AROUSAL.name}]"),
        click.option("--task-file", type=TASK_FILE, metavar="FILE", help="TOML file with a task of your own."),
        click.option(
            "--classes",
            type=CLASSES,
            metavar="LIST",
            help="Emotions of task emotion, such as anger,sadness, or emobox4.  [default: those that all corpora have]",
        ),
    ):
        option(with_task)
    return with_task


def _choose_task(task: str | None, task_file: Task | None, classes: Task | None) -> Task | str:
    given: dict[str, Task | str | None] = {"task": task, "task_file": task_file, "classes": classes}
    pairs = [("task_file", "task"), ("task_file", "classes")]
    if task != EMOTION_TASK:
        pairs.append(("classes", "task"))
    for first, second in pairs:
        if given[first] is None or given[second] is None:
            continue
        ranks = {name: _rank_source(name) for name in (first, second)}
        if ranks[first] == ranks[second]:
            if first == "classes":
                raise click.UsageError(f"--classes is for --task {EMOTION_TASK}, not for --task {task}")
            raise click.UsageError(f"--task-file defines the task and its classes; leave --{second} out")
        given[max(ranks, key=ranks.__getitem__)] = None
    chosen = given["task_file"] or given["classes"] or given["task"]
    return BUILT_IN_TASKS.get(chosen, chosen) if isinstance(chosen, str) else chosen or AROUSAL


def parse_settings(settings: tuple[str, ...]) -> dict[str, str]:
    """Return the keys and values of --set and of the configuration file; --set takes precedence."""
    parsed: dict[str, str] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise click.BadParameter(f"{setting!r} is not of the form key=value", param_hint="--set")
        key, value = key.strip(), value.strip()
        if parsed.setdefault(key, value) != value:
            raise click.BadParameter(f"{key} has two values, {parsed[key]} and {value}", param_hint="--set")
    return {**click.get_current_context().meta.get(_CONFIG_SETTINGS, {}), **parsed}


def _read_config(context: click.Context, _parameter: click.Parameter, path: Path | None) -> None:
    if path is None:
        return
    try:
        content = tomllib.loads(path.read_text("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise EmodnaError(f"not valid TOML: {error}", field="config", value=path) from error
    options = [each for each in context.command.params if isinstance(each, click.Option) and each.expose_value]
    valid = {_toml_key(option): option for option in options}
    if unknown := sorted(set(content) - set(valid)):
        remedy = "training settings belong in [set]" if "set" in valid else None
        raise EmodnaError(f"unknown key {unknown[0]}", field="config", value=path, valid=sorted(valid), remedy=remedy)
    # The table `set` and --set are merged key by key.
    settings = content.pop("set", {})
    if not isinstance(settings, dict):
        raise EmodnaError("set: must be a table, [set] with key = value", field="config", value=path)
    context.meta[_CONFIG_SETTINGS] = {key: json.dumps(value) for key, value in settings.items()}
    context.default_map = {str(valid[key].name): _check_type(path, valid[key], value) for key, value in content.items()}


config_option = click.option(
    "--config",
    type=HomePath(exists=True, path_type=Path, dir_okay=False),
    is_eager=True,
    expose_value=False,
    callback=_read_config,
    help="TOML file with long options as keys; the command line takes precedence.",
)


def _check_type(path: Path, option: click.Option, value: object) -> object:
    """Return a value of the TOML file if it has the option's type; click would convert any value to text."""
    valid: list[type]
    match option.type:
        case click.types.IntParamType():
            valid, name = [int], "a whole number"
        case Decibels():
            valid, name = [int, float, str], 'a number or "none"'
        case click.types.FloatParamType():
            valid, name = [int, float], "a number"
        case click.types.BoolParamType():
            valid, name = [bool], "true or false"
        case _:
            valid, name = [str], "text"
    values = value if option.multiple and isinstance(value, list) else [value]
    if all(type(each) in valid for each in values):  # not isinstance: a bool is an int
        return values if option.multiple else value
    name += " or a list of texts" if option.multiple else ""
    problem = f"{_toml_key(option)} = {json.dumps(value, default=str)}: must be {name}"
    raise EmodnaError(problem, field="config", value=path)


def _toml_key(option: click.Parameter) -> str:
    return max(option.opts, key=len).lstrip("-")


#: Sources of options, by precedence: the command line wins over the environment, which wins over a file.
_SOURCES: Final = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT, ParameterSource.DEFAULT_MAP)


def _rank_source(name: str) -> int:
    """Return the position of an option's source in `_SOURCES`; its length for a default."""
    source = click.get_current_context().get_parameter_source(name)
    return _SOURCES.index(source) if source in _SOURCES else len(_SOURCES)


def resolve_workers(workers: int, scheduler: str) -> tuple[int | None, str | None]:
    """Keep --workers or --scheduler: the one whose source has precedence."""
    first, second = map(_rank_source, ("workers", "scheduler"))
    if first == second:
        raise click.UsageError("--workers and --scheduler exclude each other; a cluster has its own workers")
    return (workers, None) if first < second else (None, scheduler)
