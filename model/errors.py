"""Errors of runs and experiments that a user can fix, and the actions that fix them."""

from dataclasses import dataclass
from pathlib import Path

from emodna.pipeline.errors import Action, EmodnaError


@dataclass(frozen=True)
class TrainRun(Action):
    """Train a new run."""


@dataclass(frozen=True)
class ResumeRun(Action):
    """Resume a run from its checkpoint, or train it if it has none."""

    path: Path


@dataclass(frozen=True)
class ListRuns(Action):
    """List the runs of a folder."""

    folder: Path


@dataclass(frozen=True)
class RunExperiment(Action):
    """Run an experiment, or resume it."""

    out: Path


@dataclass(frozen=True)
class ShowExperiment(Action):
    """Show the states of an experiment's runs."""

    out: Path


@dataclass(frozen=True)
class StartGpuWorkers(Action):
    """Start workers that declare a GPU."""

    scheduler: str
    """Address."""


class ConfigError(EmodnaError):
    """A setting that is unknown or has an invalid value."""


class RunError(EmodnaError):
    """A run folder that is missing, damaged, not empty or of another configuration."""


class TrainingError(EmodnaError):
    """A training that cannot start or continue, such as one without labels or with a loss that is not finite."""


class EvaluationError(EmodnaError):
    """A corpus that a run's model cannot be evaluated on."""


class PredictionError(EmodnaError):
    """A folder of predictions that has other content or is in use, or an input that cannot be predicted in bulk."""


class BenchError(EmodnaError):
    """An experiment that is missing, damaged or of other conditions."""
