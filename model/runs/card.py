"""The card of a run: what its model is, what it was made of, how well it does, and what it must not be used for.

Markdown with a YAML front matter as the Hugging Face hub defines it, rendered from the run's own files alone. The same
run gives the same text, but for the time that it took.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from emodna.model.data.framing import window_seconds
from emodna.model.data.validation import Split
from emodna.model.errors import RunError
from emodna.model.evaluation.criteria import LAST
from emodna.model.label import BLIND, ORACLE, label_of
from emodna.model.methods import method_of
from emodna.model.provenance import RunCorpus, read_corpora, write_corpora
from emodna.model.run_folder import RunFolder, read_json
from emodna.model.runs.labels import SCORED, learnt_from, named
from emodna.model.score_names import SCORE_NAMES
from emodna.pipeline.cards import markdown_text, yaml_text
from emodna.pipeline.emotions import AROUSAL, CLASS_NAMES, VALENCE, Task
from emodna.pipeline.errors import EmodnaError
from emodna.pipeline.features import feature_set_from
from emodna.pipeline.files import replacing, write_atomically
from emodna.pipeline.store import FeatureStore

#: Emotion -> class of each task.
_MEANING: Final[Mapping[Task, Mapping[str, int]]] = {"arousal": AROUSAL, "valence": VALENCE}
#: Scores as the hub's list of metrics has them.
_METRICS: Final = {"uar": "recall", "war": "accuracy", "f1": "f1", "macro_f1": "f1"}


def write_card(run: RunFolder, sources: Sequence[Split], target: FeatureStore, task: Task) -> None:
    """Write the card of a run that has its result, and what cards of later need of the stores."""
    write_corpora(run, sources, target, task)
    write_atomically(run.card, card(run).encode())


def export_card(run: RunFolder, place: Path, *, force: bool) -> int:
    """Write the card of a finished run anew; return its size in bytes.

    Raises
    ------
    ExportError
        The place is taken, and not to be replaced by `force`.
    RunError
        As `card`.
    """
    content = card(run).encode()
    with replacing(place, force=force) as fresh:
        fresh.write_bytes(content)
    return len(content)


def card(run: RunFolder) -> str:
    """Render the card of a finished run.

    Raises
    ------
    RunError
        The run is not finished, or damaged.
    """
    run.finished_model()
    config, result, corpora = read_json(run.config), read_json(run.result), read_corpora(run)
    try:
        reference = method_of(run.path, config["decisive"]["method"]).reference
        method = str(label_of(config))
        lines = [
            *_front_matter(config["decisive"], method, result, corpora),
            *_text(config, method, reference, result, corpora),
        ]
    except RunError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, EmodnaError) as error:
        raise RunError(
            f"{run.path}: no card can be made of its files: damaged, or not of this version ({error})"
        ) from error
    return "\n".join(lines) + "\n"


def _front_matter(
    decisive: Mapping[str, Any], method: str, result: Mapping[str, Any], corpora: Sequence[RunCorpus]
) -> Iterator[str]:
    """What the hub reads.

    Parameters
    ----------
    method
        Its label.
    """
    yield from ("---", "license: other", "license_name: terms-of-the-corpora")
    yield from _yaml_list("language", sorted({language for corpus in corpora for language in corpus.languages}))
    yield from ("library_name: emodna", "pipeline_tag: audio-classification")
    subject = ["speech-emotion-recognition", "cross-corpus", "domain-adaptation"]
    oracle = [ORACLE] if f"({ORACLE})" in method else []
    yield from _yaml_list("tags", [*subject, decisive["task"], decisive["method"], *oracle])
    yield from _yaml_list("datasets", [corpus.name for corpus in corpora])
    yield from _yaml_list("metrics", sorted(set(_METRICS.values())))
    if result["uar"] is not None:
        target, task = yaml_text(named(corpora, "target")), yaml_text(f"binary {decisive['task']} of speech")
        yield from ("model-index:", f"- name: {yaml_text(_title(decisive, method, corpora))}", "  results:")
        yield from ("  - task:", "      type: audio-classification", f"      name: {task}")
        yield from ("    dataset:", f"      type: {target}", f"      name: {target}", "    metrics:")
        for key, kind in _METRICS.items():
            yield from (
                f"    - type: {kind}",
                f"      name: {yaml_text(SCORE_NAMES[key])}",
                f"      value: {result[key]:.2f}",
            )
    yield from ("---", "")


def _yaml_list(key: str, values: Sequence[str]) -> list[str]:
    return [f"{key}:", *(f"- {yaml_text(value)}" for value in values)] if values else []


def _title(decisive: Mapping[str, Any], method: str, corpora: Sequence[RunCorpus]) -> str:
    return f"{method}, {decisive['task']}, {named(corpora, 'source')} to {named(corpora, 'target')}"


def _text(
    config: Mapping[str, Any], method: str, reference: str, result: Mapping[str, Any], corpora: Sequence[RunCorpus]
) -> Iterator[str]:
    """What people read."""
    decisive, supervision = config["decisive"], config.get("supervision", BLIND)
    yield from (f"# {markdown_text(_title(decisive, method, corpora))}", "")
    made_from = learnt_from(supervision, corpora, sum(config["shared_audio"].values()))
    yield from _what(decisive, method, reference, made_from)
    yield from _scores(decisive, method, result, corpora, SCORED[supervision])
    yield from _data(decisive["task"], corpora)
    yield from _licences(corpora)
    yield from _training(config, result)
    yield from _limits(corpora)
    yield from _USE
    yield from _loading(decisive)


def _what(decisive: Mapping[str, Any], method: str, reference: str, made_from: str) -> Iterator[str]:
    task: Task = decisive["task"]
    low, high = CLASS_NAMES[task]
    features = feature_set_from(decisive["features"])
    seconds = window_seconds(decisive["train"]["frames"], features)
    classes = _MEANING[task]
    meant = {
        name: [each for each, label in classes.items() if label == value] for value, name in enumerate((low, high))
    }
    yield from (
        f"Says of an utterance whether its {task} is {low} or {high}, as the probability of {high}. It hears one"
        f" channel of speech at {features.sample_rate} Hz, and of more than {seconds:.2f} s the middle.",
        "",
        f"Made by emodna with the method {markdown_text(method)} ({markdown_text(reference)}), from {made_from}",
        "",
        f"The classes stand for categories of emotion: {high} for {', '.join(meant[high])}; {low} for"
        f" {', '.join(meant[low])}.",
        "",
    )


def _scores(
    decisive: Mapping[str, Any],
    method: str,
    result: Mapping[str, Any],
    corpora: Sequence[RunCorpus],
    how: str,
) -> Iterator[str]:
    target = next(corpus for corpus in corpora if corpus.role == "target")
    yield from ("## How well it does", "")
    if result["uar"] is None:
        yield from (f"Not known: {markdown_text(target.name)} has no labels of {decisive['task']}.", "")
        return
    labelled = sum(target.classes.values())
    rows = {method: result, **result["constant"]}
    yield from _table(
        ["percent", *SCORE_NAMES.values()],
        [[name.replace("_", " "), *(f"{row[key]:.1f}" for key in SCORE_NAMES)] for name, row in rows.items()],
    )
    yield from (
        f"On {labelled} labelled utterances of {markdown_text(target.name)}. UAR is the mean recall of the classes, WAR"
        f" the accuracy, F1 that of the class {CLASS_NAMES[decisive['task']][1]}.",
        "",
        "**Look at UAR and macro-F1.** WAR and F1 can be reached by answers that look at nothing, as the constants in"
        " the table show; the UAR of every constant is 50.",
        "",
        f"{how} `emodna-eval` scores the model on a corpus that it has not seen.",
        "",
    )


def _data(task: Task, corpora: Sequence[RunCorpus]) -> Iterator[str]:
    yield from ("## Data", "")
    yield from _table(
        [
            "corpus",
            "role",
            "utterances",
            "hours",
            "speakers",
            "languages",
            *CLASS_NAMES[task],
            "unlabelled",
            "held out",
            "rejected",
        ],
        [
            [
                *(corpus.name, corpus.role, corpus.utterances, f"{corpus.seconds / 3600:.2f}", corpus.speakers),
                ", ".join(corpus.languages) or "not known",
                *(corpus.classes[name] for name in CLASS_NAMES[task]),
                *(corpus.unlabelled, corpus.held_out, corpus.rejected),
            ]
            for corpus in corpora
        ],
    )
    yield from (
        "Utterances of a source that are unlabelled or held out were not trained on; rejected files could not be used.",
        "",
    )
    for corpus in corpora:
        cut = f" Cut into utterances by the rule {markdown_text(corpus.segmentation)}." if corpus.segmentation else ""
        yield (
            f"- {markdown_text(corpus.name)}: features {markdown_text(corpus.feature_set)}, fingerprint of the content"
            f" `{corpus.fingerprint[:16]}`.{cut}"
        )
    yield ""


def _licences(corpora: Sequence[RunCorpus]) -> Iterator[str]:
    yield from (
        "## Licence and citation",
        "",
        "The model was made from these corpora, whose terms may bind it:",
        "",
    )
    for corpus in corpora:
        licence, citation = corpus.licence or "not known", corpus.citation or "none known"
        yield f"- {markdown_text(corpus.name)}: {markdown_text(licence)}. Cite: {markdown_text(citation)}."
    yield ""
    if closed := [corpus.name for corpus in corpora if corpus.forbids_commerce]:
        yield from (
            f"**Not for commercial use**, by the terms of {markdown_text(' and '.join(closed))}.",
            "",
        )


def _training(config: Mapping[str, Any], result: Mapping[str, Any]) -> Iterator[str]:
    decisive = config["decisive"]
    usual, used = ({**each["train"], **each["method_config"]} for each in (config["defaults"], decisive))
    changed = [f"{key} = {value}" for key, value in used.items() if value != usual[key]]
    device = f"{decisive['device']} (threads: {decisive['threads']})" if decisive["threads"] else decisive["device"]
    versions = ", ".join(f"{name} {version}" for name, version in sorted(config["versions"].items()))
    yield from (
        "## Training",
        "",
        f"- {decisive['steps']} steps, seed {decisive['seed']}, on {markdown_text(device)}, in"
        f" {result['wall_seconds']:.0f} s with preparation of the data and scoring",
        f"- the model is that of step {result['selected_step']}"
        + (
            ", the last"
            if result["select"] == LAST
            else f", chosen by {result['select']} without a label of the target"
        ),
        f"- settings other than the defaults: {markdown_text(', '.join(changed) or 'none')}",
        f"- versions: {markdown_text(versions)}",
        "",
    )


def _limits(corpora: Sequence[RunCorpus]) -> Iterator[str]:
    languages = sorted({language for corpus in corpora for language in corpus.languages})
    yield from (
        "## Limits",
        "",
        "- Two classes for a whole utterance, where emotion is graded, mixed, and changes; the map from categories to"
        " classes is a convention.",
        "- Corpora of actors, such as most published ones, hold full-blown emotions. Everyday speech is weaker and"
        " mixed: a score on actors says little of it.",
        f"- Languages heard: {markdown_text(', '.join(languages) or 'not known')}. Another language, age, room,"
        " microphone or telephone is another domain: adapt a model to it.",
        "- It answers for anything: speech of several people, music, noise. Its probabilities are not calibrated.",
        "",
    )


_USE: Final = (
    "## Intended use, and misuse",
    "",
    "For research on speech emotion recognition, and to sort or search one's own recordings where a person checks what"
    " matters. The people in the recordings should know of it and agree.",
    "",
    "Not for watching people's emotions at work, in education, in public or in calls; not for decisions about people,"
    " such as hiring, grading, insurance, credit, policing, migration or diagnosis; not for telling lies from truth. A"
    " voice is no proof of what somebody feels.",
    "",
)


def _loading(decisive: Mapping[str, Any]) -> Iterator[str]:
    features = feature_set_from(decisive["features"])
    yield from (
        "## How to use it",
        "",
        "RUN is the folder that this card lies in. On the command line:",
        "```",
        "emodna-predict RUN speech.wav",
        "```",
        "In Python:",
        "```python",
        "from pathlib import Path",
        "",
        "import torch",
        "",
        "from emodna.model.inference.predict import predict_files",
        "from emodna.model.inference.trained_model import TrainedModel",
        "",
        'model = TrainedModel.load(Path("RUN/model.safetensors"), torch.device("cpu"))',
        'for prediction in predict_files(model, [Path("speech.wav")]):',
        "    print(prediction.file, prediction.probability, prediction.error)",
        "```",
        "Without emodna, after `emodna-export RUN --to onnx`:",
        "```python",
        "import onnxruntime",
        "import soundfile",
        "import soxr",
        "",
        'samples, rate = soundfile.read("speech.wav", dtype="float32", always_2d=True)',
        f'waveform = soxr.resample(samples[:, {features.channel}], rate, {features.sample_rate}, quality="HQ")',
        'session = onnxruntime.InferenceSession("RUN/model.onnx")',
        'probability, logits = session.run(None, {"waveform": waveform[None]})',
        "print(probability[0])",
        "```",
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """A table in Markdown, all but the first column of numbers."""
    yield f"| {' | '.join(head)} |"
    yield "|---" * len(head) + "|"
    yield from (f"| {' | '.join(map(markdown_text, row))} |" for row in rows)
    yield ""
