"""Wording of errors on the command line: parameters become options, and actions become commands."""

import functools
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from emodna.model.errors import ListRuns, ResumeRun, RunExperiment, ShowExperiment, StartGpuWorkers, TrainRun
from emodna.pipeline.errors import Action, EmodnaError, PrepareCorpus

if TYPE_CHECKING:
    from emodna.pipeline.audio.provenance import AudioProvenance


def word_error(error: EmodnaError) -> str:
    """Return an error as one line that names options of the running command and the command of the remedy."""
    context = click.get_current_context(silent=True)
    if context is None:
        return str(error)
    option = f"--{str(error.value).replace('_', '-')}"
    is_option = any(option in each.opts for each in context.command.params)
    if is_option and (error.field, error.problem) == ("settings", "unknown"):
        return f"--set {error.value}: not a setting; use {option}"
    return word_reason(error.word(functools.partial(name_option, context.command), word_action))


def word_reason(reason: str) -> str:
    """Return the reason of an unusable recording with the option for ffmpeg."""
    return re.sub(r"\b(decode (it|them|the recordings) with) ffmpeg\b", r"\1 --ffmpeg", reason)


def name_option(command: click.Command, field: str, value: object = None) -> str:
    """Return the option or `--set` key of a command for a parameter of the Python API, with the parameter's value."""
    parameters = {parameter.name: parameter for parameter in command.params}
    match parameters.get(field):
        case click.Option() as option:
            name = max(option.opts, key=len)
            value = None if option.is_flag else value
        case click.Argument() as argument:
            name = argument.human_readable_name
        case _ if "settings" in parameters:
            name, value = "--set", field if value is None else f"{field}={value}"
        case _:
            name = field
    return name if value is None else f"{name} {value}"


def word_action(action: Action) -> str | None:
    """Return the command of an action; None if it has none."""
    match action:
        case PrepareCorpus():
            return _word_preparation(action)
        case TrainRun():
            return "emodna-fit"
        case ResumeRun(path):
            return f"emodna-fit --src CORPUS --tgt CORPUS --resume --out {shlex.quote(str(path))}"
        case ListRuns(folder):
            return f"emodna-runs ls {shlex.quote(str(folder))}"
        case RunExperiment(out):
            return "emodna-bench run" + _word_folder("out", out, Path("bench"))
        case ShowExperiment(out):
            return "emodna-bench status" + _word_folder("out", out, Path("bench"))
        case StartGpuWorkers(scheduler):
            option = "--scheduler-file " if Path(scheduler).is_file() else ""
            return f"dask worker {option}{shlex.quote(scheduler)} --nthreads 1 --resources GPU=1"
    return None


def in_cache(cache: Path) -> str:
    """Return the option for a cache folder; empty for the default one."""
    return _word_folder("cache", cache, Path("cache"))


def _word_folder(option: str, folder: Path, default: Path) -> str:
    return "" if folder == default else f" --{option} {shlex.quote(str(folder))}"


def _find_provenance(action: PrepareCorpus, corpus: str) -> "AudioProvenance":
    """Return the provenance that the store of an own corpus records; if it is unreadable, that in its name."""
    from emodna.pipeline.audio.provenance import split_store_name
    from emodna.pipeline.catalogue import resolve_folder_name
    from emodna.pipeline.store.snapshot import read_snapshot

    try:
        folder = resolve_folder_name(action.feature_set)
        return read_snapshot((action.cache or Path("cache")) / corpus / folder).provenance
    except (EmodnaError, OSError):
        return split_store_name(corpus)[1]


def _word_preparation(action: PrepareCorpus) -> str | None:
    from emodna.pipeline import corpora
    from emodna.pipeline.features import DEFAULT_FEATURE_SET, FEATURE_SETS

    words, channel, bandwidth = ["emodna-prep"], action.channel, action.bandwidth
    if action.corpus is None:
        words += ["--corpus", "NAME"]
    elif (selection := corpora.find_selection(action.corpus)) is None:
        words += ["--manifest", "TABLE", "--name", shlex.quote(action.corpus)]
        if not channel and bandwidth is None:
            recorded = _find_provenance(action, action.corpus)
            channel, bandwidth = recorded.channel, recorded.bandwidth
    else:
        words += ["--corpus", selection.corpus, *(["--subset", selection.subset] if selection.subset else [])]
        channel, bandwidth = selection.provenance.channel, selection.provenance.bandwidth
    names = {name: name for name in FEATURE_SETS} | {default.name: name for name, default in FEATURE_SETS.items()}
    feature_set = names.get(action.feature_set or DEFAULT_FEATURE_SET)
    if feature_set is None:
        return None  # its options are unknown
    if feature_set != DEFAULT_FEATURE_SET:
        words += ["--feature-set", feature_set]
    words += ["--channel", str(channel)] if channel else []
    words += [] if bandwidth is None else ["--bandwidth", f"{bandwidth:.0f}"]
    command = " ".join([*words, *(["--rehash"] if action.reread else [])])
    return command if action.cache is None else command + in_cache(action.cache)
