"""Planning of an experiment for emodna-bench run: its stores, methods and conditions, and those of earlier calls."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from emodna.cli import common
from emodna.model.bench.feature_sets import FeatureSetSummary, find_short_name
from emodna.model.bench.method_spec import MethodSpec
from emodna.model.bench.paper import PAPER_TABLES, SENSITIVITY_METHODS, is_upper_bound
from emodna.model.bench.spec import Conditions, Experiment, RunSpec
from emodna.model.errors import BenchError
from emodna.pipeline.errors import EmodnaError, PrepareCorpus, Remedy
from emodna.pipeline.tasks import EMOTION_TASK, TASKS, Task

if TYPE_CHECKING:
    from emodna.model.bench.grid import MethodGroup
    from emodna.pipeline.store import FeatureStore

SENSITIVITY: Final = "sensitivity"
"""Value of --table for the sensitivity study."""


@dataclass(frozen=True)
class Earlier:
    """The experiment in the folder before the command."""

    experiment: Experiment | None
    """None if there is none."""
    has_runs: bool
    """True if a run has started, so that the conditions must stay."""

    @classmethod
    def read(cls, out: Path) -> "Earlier":
        """Read the experiment in a folder, if there is one."""
        if not Experiment.exists(out):
            return cls(None, has_runs=False)
        experiment = Experiment.read(out)
        return cls(experiment, any(experiment.run_folder(run).path.exists() for run in experiment.runs))

    @property
    def feature_sets(self) -> dict[str, FeatureSetSummary]:
        """Feature sets by short name."""
        return {} if self.experiment is None else dict(self.experiment.feature_sets)

    @property
    def definitions(self) -> dict[str, Task]:
        """Definitions of the tasks that have runs."""
        known = {} if self.experiment is None else self.experiment.definitions
        return {name: task for name, task in known.items() if self.experiment and name in self.experiment.tasks}

    def choose_tasks(self, names: Sequence[str], given: Sequence[Task]) -> tuple[tuple[str, ...], dict[str, Task]]:
        """Return the names of the command's tasks, and the definitions, given those of the command.

        Without a definition of the command, a task has that of the experiment. Raises EmodnaError: unknown task.
        """
        definitions = {**self.definitions, **{task.name: task for task in given}}
        for name in names:
            if name not in (valid := dict.fromkeys([*TASKS, EMOTION_TASK, *definitions])):
                raise EmodnaError("unknown", field="tasks", value=name, valid=valid)
        if EMOTION_TASK in names and EMOTION_TASK in definitions and all(task.name != EMOTION_TASK for task in given):
            common.note(f"classes {', '.join(definitions[EMOTION_TASK].classes)}, as in the experiment")
        own = [task.name for task in given if task.name != EMOTION_TASK]
        return tuple(dict.fromkeys([*names, *own])), definitions

    def choose_steps(self, steps: int | None) -> int | None:
        """Return the steps of the experiment's conditions, given those of the command.

        Without steps of the command, they stay as they are, except that the default number becomes that of each feature
        set.
        """
        if self.experiment is None or not self.has_runs or steps is not None:
            return steps
        earlier = self.experiment.conditions.steps
        if earlier is None or changes_no_steps(self.experiment, None):
            return None
        common.note(f"{earlier} steps, as in the experiment")
        return earlier


def changes_no_steps(experiment: Experiment, steps: int | None) -> bool:
    """Return True if all runs of an experiment have the same number of steps under other conditions."""
    other = replace(experiment, conditions=replace(experiment.conditions, steps=steps))
    return all(other.arguments(run)["steps"] == experiment.arguments(run)["steps"] for run in experiment.runs)


@dataclass(frozen=True)
class Grid:
    """Stores and methods of an experiment."""

    stores: "Sequence[FeatureStore]"
    """A store of each corpus and feature set."""
    default: str
    """Full name of the default feature set."""
    feature_sets: dict[str, FeatureSetSummary]
    """Feature sets by short name."""
    method_groups: "Sequence[MethodGroup]"
    definitions: Mapping[str, Task] = field(default_factory=dict)
    """Tasks that are not built in, by name."""


def group_methods(tasks: tuple[str, ...], methods: list[MethodSpec], tables: tuple[str, ...]) -> "list[MethodGroup]":
    """Return the methods of the command, or those of its tables, with their tasks."""
    if not tables:
        methods = methods or [*PAPER_TABLES["2"].methods, *PAPER_TABLES["3"].methods]
        return [(tasks or TASKS, list(dict.fromkeys(methods)))]
    of_table: dict[str, MethodGroup] = {name: (preset.tasks, preset.methods) for name, preset in PAPER_TABLES.items()}
    of_table[SENSITIVITY] = ("arousal",), list(SENSITIVITY_METHODS)
    return [(tasks or of_table[name][0], of_table[name][1]) for name in dict.fromkeys(tables)]


def add_target_labels(method_groups: "Sequence[MethodGroup]", counts: Sequence[int]) -> "list[MethodGroup]":
    """Return the methods with each number of target labels, without them if it is 0.

    Methods with a number of their own and the upper bound, which uses all labels, stay as they are.
    """

    def vary(spec: MethodSpec) -> list[MethodSpec]:
        if not counts or "target_labels" in spec.overrides or is_upper_bound(spec):
            return [spec]
        return [spec.set("target_labels", str(count) if count else None) for count in counts]

    return [
        (tasks, list(dict.fromkeys(each for spec in group for each in vary(spec)))) for tasks, group in method_groups
    ]


def find_grid(
    earlier: Earlier,
    cache: Path,
    corpora: tuple[str, ...],
    feature_sets: tuple[str, ...],
    method_groups: "Sequence[MethodGroup]",
) -> Grid:
    """Return the stores of all corpora and feature sets, and the methods on each feature set.

    Methods without a feature set of their own are on each of `feature_sets`. The default feature set stays that of the
    experiment. Raises EmodnaError if a corpus lacks one of the feature sets, and if there are fewer than two corpora.
    """
    from emodna.model.bench.grid import summarise_feature_sets
    from emodna.pipeline.features import DEFAULT_FEATURE_SET
    from emodna.pipeline.store import FeatureStore

    known = earlier.feature_sets

    def name_folder(feature_set: str) -> str:
        """Return the full name of a feature set of the experiment; others stay as they are."""
        short_name = find_short_name(known, feature_set)
        return feature_set if short_name is None else known[short_name].folder

    default = DEFAULT_FEATURE_SET if earlier.experiment is None else earlier.experiment.conditions.feature_set
    methods = [spec for _, group in method_groups for spec in group]
    own = [name_folder(spec.feature_set) for spec in methods if spec.feature_set is not None]
    names = list(map(name_folder, feature_sets or [default]))
    used = [*(names if len(own) < len(methods) else []), *own]
    if not earlier.has_runs:
        default = used[0]
    used.insert(0, default)
    paths = _find_stores(cache, corpora or tuple(earlier.experiment.corpora if earlier.experiment else ()), used)
    folders = {name: stores[0].name for name, stores in paths.items()}
    stores = [FeatureStore(path) for path in dict.fromkeys(path for each in paths.values() for path in each)]
    summaries = summarise_feature_sets(stores, folders[default], known)
    short_names = {each.folder: name for name, each in summaries.items()}

    def put_on(spec: MethodSpec, name: str) -> MethodSpec:
        return spec.on(None if folders[name] == folders[default] else short_names[folders[name]])

    groups = []
    for tasks, group in method_groups:
        specs = [put_on(spec, name) for name in names for spec in group if spec.feature_set is None]
        specs += [put_on(spec, name_folder(spec.feature_set)) for spec in group if spec.feature_set is not None]
        groups.append((tasks, list(dict.fromkeys(specs))))
    return Grid(stores, folders[default], summaries, groups)


def leave_out(grid: Grid, settings: Mapping[str, str]) -> Grid:
    """Return a grid without the methods of tables whose settings have no effect on their feature set; name these.

    `settings` are those of all methods.
    """
    default = next(name for name, each in grid.feature_sets.items() if each.folder == grid.default)
    dropped: dict[MethodSpec, str] = {}
    for spec in (spec for _, group in grid.method_groups for spec in group):
        name = spec.feature_set or default
        if not grid.feature_sets[name].gives_effect(spec.overrides, settings):
            dropped[spec] = name
    for name in dict.fromkeys(dropped.values()):
        specs = ", ".join(str(spec.on(None)) for spec, on in dropped.items() if on == name)
        common.note(f"left out, because their settings have no effect on {common.escape(name)}: {specs}")
    groups = [(tasks, [spec for spec in group if spec not in dropped]) for tasks, group in grid.method_groups]
    return replace(grid, method_groups=groups)


def _find_stores(cache: Path, corpora: tuple[str, ...], feature_sets: Sequence[str]) -> dict[str, list[Path]]:
    """Return the stores of the corpora by feature set, by default of all corpora with one of the feature sets."""
    from emodna.pipeline.catalogue import find_all_stores, find_stores, resolve_folder_name

    feature_sets = list(dict.fromkeys(feature_sets))
    found = sorted(corpora)
    if not corpora:
        found = sorted({path.parent.name for name in feature_sets for path in find_all_stores(cache, name)})
    if len(found) < 2:
        if corpora:
            raise EmodnaError("only one corpus", field="corpora", value=corpora[0], remedy="give at least two")
        found_text = f"found only {found[0]}" if found else "found none"
        sets = " and ".join(map(resolve_folder_name, feature_sets))
        problem = f"needs at least two corpora with the feature set {sets}, {found_text}"
        remedy = Remedy("prepare more", PrepareCorpus(None, cache, feature_sets[0]))
        raise EmodnaError(problem, field="cache", value=cache, remedy=remedy)
    return {name: find_stores(cache, found, name) for name in feature_sets}


def plan_experiment(out: Path, grid: Grid, seeds: int, conditions: Conditions) -> Experiment:
    """Plan the experiment, and print which corpora cannot be sources and which pairs have no classes.

    Raise BenchError if no corpus can be a source, and the errors of `grid.plan_experiment`.
    """
    from emodna.model.bench import grid as planner

    method_groups = grid.method_groups
    experiment = planner.plan_experiment(
        out, grid.stores, method_groups, seeds, conditions, grid.feature_sets, grid.definitions
    )
    tasks = list(dict.fromkeys(task for group_tasks, _ in method_groups for task in group_tasks))
    missing_labels = {
        corpus.name: reasons
        for corpus in experiment.corpora.values()
        if (reasons := [reason for task in tasks if (reason := corpus.find_missing_labels(task))])
    }
    unshared = []
    if EMOTION_TASK in tasks and experiment.find_task(EMOTION_TASK) is None:
        unshared = [
            f"{source.name} -> {target}, which share fewer than two emotions"
            for source, target in itertools.product(experiment.corpora.values(), experiment.corpora)
            if source.name != target
            and source.find_missing_labels(EMOTION_TASK) is None
            and not planner.share_emotions(source, target)
        ]
    if not experiment.runs:
        found = "; ".join([*(f"{name} has {' and '.join(each)}" for name, each in missing_labels.items()), *unshared])
        raise BenchError(f"no corpus can be a source: {found}", remedy="prepare a corpus with labels of both classes")
    for name, reasons in missing_labels.items():
        common.note(f"{common.escape(name)} has {' and '.join(reasons)}: used as a target only")
    for line in unshared:
        common.note(f"left out: {common.escape(line)}")
    return experiment


def merge_experiments(new: Experiment) -> tuple[Experiment, list[RunSpec]]:
    """Return the planned experiment merged with the one in its folder, and the runs to execute.

    Raise BenchError if the one in the folder has other conditions and at least one run.
    """
    earlier = Earlier.read(new.out)
    old = earlier.experiment
    if old is None or (old.conditions != new.conditions and not earlier.has_runs):
        return new, list(new.runs)
    from emodna.model.bench.grid import update_labels

    if changes_no_steps(old, new.conditions.steps):
        old = replace(old, conditions=replace(old.conditions, steps=new.conditions.steps))
    old.check_conditions(new.conditions)
    old = update_labels(old)
    new = _use_specs_of(old, new)
    # The upper bound does not use its source, unless the classes depend on it: with more corpora, keep its runs.
    kept_runs = [
        run
        for run in old.runs
        if is_upper_bound(run.method) and run.src in new.corpora and new.find_task(run.task) is not None
    ]
    upper_bounds = {(run.tgt, run.task, run.method, run.seed): run for run in kept_runs}
    runs = [upper_bounds.get((run.tgt, run.task, run.method, run.seed), run) for run in new.runs]
    return old.merge(new, runs), runs


def _use_specs_of(old: Experiment, new: Experiment) -> Experiment:
    """Return an experiment with the specs of an earlier one in place of those with the same meaning.

    So the runs of `dan` are also those of dan:normalisation=source, which sets a default.
    """
    specs = {info.label: spec for spec, info in old.methods.items()}
    same = {spec: specs.get(info.label, spec) for spec, info in new.methods.items() if spec not in old.methods}
    runs = tuple(replace(run, method=same.get(run.method, run.method)) for run in new.runs)
    methods = {spec: info for spec, info in new.methods.items() if spec not in same or same[spec] == spec}
    return replace(new, runs=tuple(dict.fromkeys(runs)), methods=methods)
