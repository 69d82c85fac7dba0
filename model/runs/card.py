"""Model cards of runs: Markdown with a YAML front matter in the form of the Hugging Face hub.

`card.md.j2` is rendered with values from the files of the run. Equal runs give equal cards, except for durations.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, get_args

import jinja2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from emodna.model.adaptation import get_adaptation
from emodna.model.config import build_config
from emodna.model.data.domain import TrainingDomain
from emodna.model.data.speakers import MIN_UTTERANCES
from emodna.model.data.validation import Split
from emodna.model.data.windows import compute_window_seconds
from emodna.model.errors import RunError
from emodna.model.evaluation.criteria import LAST, SOURCE_ACCURACY
from emodna.model.label import (
    EXPOSURE_MARKS,
    ORACLE,
    SEMI_SUPERVISED,
    SOURCE_SUPERVISION,
    is_oracle,
    mark_exposure,
    name_constant,
    name_scores,
    note_exposure,
    read_exposure,
    read_label,
)
from emodna.model.methods import load_method_of_run
from emodna.model.methods.base import DirectMethod, Method, Supervision
from emodna.model.provenance import RunCorpus, forbids_commerce, read_corpora, write_audio, write_corpora
from emodna.model.run_folder import RunFolder, read_json
from emodna.pipeline.cards import escape_markdown, quote_yaml
from emodna.pipeline.encoders.exposure import find_encoder_of, name_trained_model
from emodna.pipeline.errors import EmodnaError
from emodna.pipeline.features import rebuild_feature_set
from emodna.pipeline.files import replace_atomically, write_atomically
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.tasks import Task, read_task

#: Names of the scores in the hub's list of metrics.
_METRICS: Final = {"uar": "recall", "war": "accuracy", "f1": "f1", "macro_f1": "f1"}


def write_card(
    run: RunFolder,
    sources: Sequence[Split],
    target: FeatureStore,
    task: Task,
    domain: TrainingDomain | None,
    training_labels: NDArray[np.bool_] | None = None,
) -> None:
    """Write the card of a finished run, and the information on its corpora for later cards, and their audio hashes.

    `training_labels` as in `write_audio`.
    """
    write_corpora(run, sources, target, task, domain)
    write_audio(run, [each.store for each in sources], target, task, training_labels)
    write_atomically(run.card, render_card(run).encode())


def export_card(run: RunFolder, place: Path, *, force: bool) -> int:
    """Write the card of a finished run to a file; return its size in bytes.

    Raise an ExportError if the file exists, unless `force`.
    """
    content = render_card(run).encode()
    with replace_atomically(place, force=force) as fresh:
        fresh.write_bytes(content)
    return len(content)


def render_card(run: RunFolder) -> str:
    """Return the card of a run. Raise a RunError if the run is not finished or is damaged."""
    run.find_model()
    config, result, corpora = read_json(run.config), read_json(run.result), read_corpora(run)
    try:
        method = load_method_of_run(run.path, config["decisive"]["method"])
        return _load_template().render(
            _collect_variables(config, result, corpora),
            reference=method.reference,
            min_utterances=MIN_UTTERANCES,
            is_fitted_at_once=issubclass(method, DirectMethod),
            has_steps=_has_steps(method, config["decisive"]),
            uses_target=_uses_target(method, config["decisive"]),
        )
    except RunError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, EmodnaError, jinja2.TemplateError) as error:
        problem = f"damaged, or written by another version: cannot render a card ({error})"
        raise RunError(problem, where=run.path) from error


@cache
def _load_template() -> jinja2.Template:
    """Return the template. It escapes values for Markdown; the filter `yaml` escapes them for YAML."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=lambda value: value if isinstance(value, Markup) else Markup(escape_markdown(value)),  # noqa: S704
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["yaml"] = lambda value: Markup(quote_yaml(value))  # noqa: S704
    return environment.get_template("card.md.j2")


def _uses_target(method: type[Method], decisive: Mapping[str, Any]) -> bool:
    """Return True if the weights of a run depend on utterances of the target, labelled or not."""
    is_read = method.reads_target(build_config(method.defaults, decisive["method_config"]))
    return is_read or "adaptation" in decisive or decisive.get("select", LAST) not in (LAST, SOURCE_ACCURACY)


def _has_steps(method: type[Method], decisive: Mapping[str, Any]) -> bool:
    """Return True if the last training of a run had steps."""
    if "adaptation" in decisive:
        return get_adaptation(decisive["adaptation"]["method"]).default_steps > 0
    return not issubclass(method, DirectMethod)


def _collect_variables(
    config: Mapping[str, Any], result: Mapping[str, Any], corpora: Sequence[RunCorpus]
) -> dict[str, Any]:
    decisive = config["decisive"]
    exposures = {corpus.name: read_exposure(result, corpus.name) for corpus in corpora}
    task = read_task(decisive)
    supervision = config.get("supervision", SOURCE_SUPERVISION)
    if supervision not in get_args(Supervision):
        raise ValueError(f"supervision {supervision!r:.40}")
    sources = " + ".join(corpus.name for corpus in corpora if corpus.role == "source")
    target = next(corpus for corpus in corpora if corpus.role == "target")
    exposure = exposures[target.name]
    method = mark_exposure(read_label(config), exposure)
    features = rebuild_feature_set(decisive["features"], config.get("location"))
    defaults, used = ({**each["train"], **each["method_config"]} for each in (config["defaults"], decisive))
    tags = ["speech-emotion-recognition", "cross-corpus", "domain-adaptation", task.name, decisive["method"]]
    return {
        "decisive": decisive,
        "result": result,
        "corpora": corpora,
        "sources": sources,
        "target": target,
        "labelled_target": config.get("labelled_target", target.name),
        "method": method,
        "title": f"{method}, {task.name}, {sources} to {target.name}",
        "tags": [
            *tags,
            *[ORACLE] * is_oracle(supervision),
            *[SEMI_SUPERVISED] * bool(supervision == SEMI_SUPERVISED),
            *filter(None, [EXPOSURE_MARKS.get(exposure)]),
        ],
        "supervision": supervision,
        "excluded": result.get("excluded", 0),  # missing in earlier versions
        "drawn": sum(map(len, config.get("target_labels", {}).values())),
        "shared": sum(config["shared_audio"].values()),
        "classes": task.classes,
        "members": dict(zip(task.classes, task.members, strict=True)),
        "column": task.column,
        "adaptation": decisive.get("adaptation"),
        "features": features,
        "encoder": find_encoder_of(features),
        "exposures": exposures,
        "exposure_notes": note_exposure({target.name: exposure}, name_trained_model(features)),
        # Statistics over a whole utterance are one frame.
        "seconds": compute_window_seconds(frames, features) if (frames := decisive["train"]["frames"]) > 1 else None,
        "metrics": {key: _METRICS[key] for key in name_scores(len(task))},
        "score_names": name_scores(len(task)),
        "scored": {method: result, **{name_constant(key, task.name): each for key, each in result["constant"].items()}},
        "chosen": [
            f"{key} = {value}"
            for key in ("network", "normalisation", "class_weights")
            if (value := used.get(key)) is not None
        ],
        "languages": sorted({language for corpus in corpora for language in corpus.languages}),
        "closed": [
            *(corpus.name for corpus in corpora if corpus.forbids_commerce),
            *[features.title] * forbids_commerce(features.licence or ""),
        ],
        "changed": [f"{key} = {value}" for key, value in used.items() if value != defaults[key]],
        "versions": [f"{name} {version}" for name, version in sorted(config["versions"].items())],
    }
