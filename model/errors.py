"""What goes wrong on this floor for a reason that a user can mend."""

from dataclasses import dataclass
from pathlib import Path

from emodna.pipeline.errors import Action, EmodnaError


class ConfigError(EmodnaError):
    """A setting that does not exist or does not have that value; says what is valid."""


class RunError(EmodnaError):
    """A run folder that is missing, damaged, not empty, or of another configuration."""


class TrainingError(EmodnaError):
    """Training cannot go on: a loss is no longer finite, or a corpus has nothing to train on."""


class EvaluationError(EmodnaError):
    """A corpus that a run's model cannot be evaluated on."""


class BenchError(EmodnaError):
    """A benchmark that is missing, damaged, or of other conditions."""


@dataclass(frozen=True)
class RunExperiment(Action):
    """Run an experiment, or resume it."""

    out: Path
    """Folder of the experiment."""


@dataclass(frozen=True)
class ShowExperiment(Action):
    """Show the states of an experiment's runs."""

    out: Path
    """Folder of the experiment."""


@dataclass(frozen=True)
class StartGpuWorkers(Action):
    """Start workers that declare a GPU."""

    scheduler: str
    """Address of the scheduler."""
