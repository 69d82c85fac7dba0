"""Wording of errors on the command line: parameters become options, and actions become commands."""

import functools
import re
import shlex
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emodna.model.errors import ListRuns, ResumeRun, RunExperiment, ShowExperiment, StartGpuWorkers, TrainRun
from emodna.pipeline.errors import Action, EmodnaError, PrepareCorpus, StoreError

if TYPE_CHECKING:
    from emodna.pipeline.audio.provenance import AudioProvenance
    from emodna.pipeline.features import FeatureSet


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


def _find_features(action: PrepareCorpus) -> "FeatureSet | None":
    """Return the features to prepare: the given ones, those of this name, or those of a store in the cache."""
    from emodna.pipeline.catalogue import list_folders
    from emodna.pipeline.features import (
        DEFAULT_FEATURE_SET,
        FEATURE_SETS,
        list_feature_set_names,
        load_feature_set,
        rebuild_feature_set,
    )
    from emodna.pipeline.store.snapshot import read_snapshot

    name, cache = action.feature_set or DEFAULT_FEATURE_SET, action.cache or Path("cache")
    try:
        if action.parameters is not None:
            return rebuild_feature_set(action.parameters, action.location)
        if name in list_feature_set_names():
            return load_feature_set(name)
        if found := [each for each in FEATURE_SETS.values() if each.name == name]:
            return found[0]
        if len(folders := list_folders(cache, name)) != 1:
            return None
        for path in sorted(cache.glob(f"*/{folders[0]}")):
            with suppress(StoreError):
                snapshot = read_snapshot(path)
                return rebuild_feature_set(snapshot.parameters, snapshot.location)
    except (EmodnaError, OSError):
        pass
    return None


def _word_features(features: "FeatureSet") -> list[str] | None:
    """Return the options that prepare features; None if no options do."""
    from emodna.pipeline.features import (
        DEFAULT_FEATURE_SET,
        FEATURE_SETS,
        EncoderSet,
        ImportedSet,
        list_feature_set_names,
        load_feature_set,
    )

    words: list[str] = []
    match features:
        case ImportedSet():
            return None if features.location is None else ["--features-from", shlex.quote(features.location)]
        case EncoderSet():
            encoder = features.location or features.encoder
            words = ["--feature-set", features.kind, "--encoder", shlex.quote(encoder)]
            words += ["--layer", shlex.quote(features.layers)]
            default: FeatureSet = EncoderSet()
        case _:
            own = [name for name in list_feature_set_names() if name in (features.kind, *FEATURE_SETS)]
            changes: dict[str, Any] = {"fixed_samples": features.fixed_samples, "trim_db": features.trim_db}
            loaded = {name: load_feature_set(name) for name in own}
            name = next((name for name, each in loaded.items() if replace(each, **changes) == features), None)
            if name is None:
                return None
            words = [] if name == DEFAULT_FEATURE_SET else ["--feature-set", name]
            default = loaded[name]
    if features.trim_db != default.trim_db:
        words += ["--trim", "none" if features.trim_db is None else f"{features.trim_db:g}"]
    if features.fixed_samples is not None:
        words += ["--fixed-samples", str(features.fixed_samples)]
    return words


def _word_preparation(action: PrepareCorpus) -> str | None:
    from emodna.pipeline import corpora

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
    features = _find_features(action)
    options = None if features is None else _word_features(features)
    if options is None:
        return None
    words += options
    words += ["--channel", str(channel)] if channel else []
    words += [] if bandwidth is None else ["--bandwidth", f"{bandwidth:.0f}"]
    command = " ".join([*words, *(["--rehash"] if action.reread else [])])
    return command if action.cache is None else command + in_cache(action.cache)
