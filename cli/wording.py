"""Errors in the words of the command line: parameters become options, and actions become commands."""

import functools
import shlex
from pathlib import Path

import click

from emodna.model.errors import ListRuns, ResumeRun, RunExperiment, ShowExperiment, StartGpuWorkers, TrainRun
from emodna.pipeline.errors import Action, EmodnaError, PrepareCorpus


def word_error(error: EmodnaError) -> str:
    """Return an error as one line that names options of the running command, and the command that helps."""
    context = click.get_current_context(silent=True)
    return str(error) if context is None else error.word(functools.partial(name_option, context.command), word_action)


def name_option(command: click.Command, field: str, value: object = None) -> str:
    """Return the option of a command that sets a parameter of the Python API, with its value.

    A parameter without an option of its own is a key of `--set`, if the command has that.
    """
    parameters = {parameter.name: parameter for parameter in command.params}
    match parameters.get(field):
        case click.Option(is_flag=True) as option:
            return max(option.opts, key=len)
        case click.Option() as option:
            name = max(option.opts, key=len)
        case click.Argument() as argument:
            name = argument.human_readable_name
        case _ if "settings" in parameters:
            return f"--set {field}" if value is None else f"--set {field}={value}"
        case _:
            name = field
    return name if value is None else f"{name} {value}"


@functools.singledispatch
def word_action(_action: Action) -> str | None:
    """Return the command that carries out an action; None if none does."""
    return None


@word_action.register
def _prepare(action: PrepareCorpus) -> str | None:
    from emodna.pipeline import corpora
    from emodna.pipeline.features import DEFAULT_FEATURE_SET, FEATURE_SETS

    words = ["emodna-prep"]
    if action.corpus is None:
        words += ["--corpus", "NAME"]
    elif (selection := corpora.find_selection(action.corpus)) is None:
        words += ["--manifest", "TABLE", "--name", shlex.quote(action.corpus)]
    else:
        corpus, subset = selection
        words += ["--corpus", corpus, *(["--subset", subset] if subset else [])]
    names = {name: name for name in FEATURE_SETS} | {default.name: name for name, default in FEATURE_SETS.items()}
    feature_set = names.get(action.feature_set or DEFAULT_FEATURE_SET)
    if feature_set is None:
        return None  # the store's folder does not name the options that it was made with
    if feature_set != DEFAULT_FEATURE_SET:
        words += ["--feature-set", feature_set]
    command = " ".join([*words, *(["--rehash"] if action.reread else [])])
    return command if action.cache is None else command + in_cache(action.cache)


@word_action.register
def _train(_action: TrainRun) -> str:
    return "emodna-fit"


@word_action.register
def _resume(action: ResumeRun) -> str:
    return f"emodna-fit --resume --out {shlex.quote(str(action.path))}"


@word_action.register
def _list_runs(action: ListRuns) -> str:
    return f"emodna-runs ls {shlex.quote(str(action.folder))}"


def in_cache(cache: Path) -> str:
    """Return the option for a cache folder; empty for the default one."""
    return "" if cache == Path("cache") else f" --cache {shlex.quote(str(cache))}"


@word_action.register
def _run_experiment(action: RunExperiment) -> str:
    return "emodna-bench run" + _in_experiment(action.out)


@word_action.register
def _show_experiment(action: ShowExperiment) -> str:
    return "emodna-bench status" + _in_experiment(action.out)


@word_action.register
def _start_gpu_workers(action: StartGpuWorkers) -> str:
    return f"dask worker {action.scheduler} --nthreads 1 --resources GPU=1"


def _in_experiment(out: Path) -> str:
    """Return the option that names the folder of an experiment; empty for the default one."""
    return "" if out == Path("bench") else f" --out {shlex.quote(str(out))}"
