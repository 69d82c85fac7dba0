"""Model cards: content, front matter, and escaping of text from outside."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from emodna.model.fit import fit
from emodna.model.provenance import read_corpora
from emodna.model.request import FitRequest
from emodna.model.run_folder import RunFolder
from emodna.model.runs.card import render_card
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.tasks import make_emotion_task
from tests.model.small import SilentCallback, Stores, fit_small, make_manifest_store, read_emotions


@pytest.fixture
def run(trained_run: Path, tmp_path: Path) -> RunFolder:
    return RunFolder(Path(shutil.copytree(trained_run, tmp_path / "run")))


def split_card(text: str) -> tuple[dict[str, Any], str]:
    _, front, body = re.split(r"^---\n", text, maxsplit=2, flags=re.MULTILINE)
    return yaml.safe_load(front), body


def edit_json(file: Path, edit: Callable[[Any], object]) -> None:
    document = json.loads(file.read_text())
    edit(document)
    file.write_text(json.dumps(document))


class TestCard:
    def test_card_in_the_run_folder_is_rendered_from_its_files(self, trained_run: Path) -> None:
        assert (trained_run / "MODEL_CARD.md").read_text() == render_card(RunFolder(trained_run))

    def test_front_matter_has_the_keys_of_the_hub(self, trained_run: Path) -> None:
        front, _ = split_card(render_card(RunFolder(trained_run)))
        assert (front["license"], front["license_name"]) == ("other", "terms-of-the-corpora")
        assert front["language"] == ["de", "en"]
        assert (front["library_name"], front["pipeline_tag"]) == ("emodna", "audio-classification")
        assert {"speech-emotion-recognition", "arousal", "emo-dna"} <= set(front["tags"])
        assert front["datasets"] == ["ravdess", "emodb"]
        assert front["metrics"] == ["accuracy", "f1", "recall"]
        result = json.loads((trained_run / "result.json").read_text())
        (entry,) = front["model-index"]
        (scored,) = entry["results"]
        assert scored["dataset"] == {"type": "emodb", "name": "emodb"}
        assert {each["name"]: each["value"] for each in scored["metrics"]} == pytest.approx(
            {"UAR": result["uar"], "WAR": result["war"], "F1": result["f1"], "macro-F1": result["macro_f1"]}, abs=0.01
        )

    def test_table_has_the_scores_of_constant_predictors(self, trained_run: Path) -> None:
        result = json.loads((trained_run / "result.json").read_text())
        text = render_card(RunFolder(trained_run))
        names = {"prior_proportional": "prior-proportional", "always_high": "always high", "always_low": "always low"}
        for name, row in {result["label"]: result, **result["constant"]}.items():
            cells = " | ".join(f"{row[key]:.1f}" for key in ("uar", "war", "f1", "macro_f1"))
            assert f"| {names.get(name, name)} | {cells} |".replace("_", r"\_") in text
        assert "low for boredom, calm, neutral, sadness; high for anger" in text
        assert "transductive" in text

    def test_data_and_settings_are_listed(self, trained_run: Path, source: FeatureStore, target: FeatureStore) -> None:
        text = render_card(RunFolder(trained_run))
        assert "| ravdess | source | 32 |" in text
        assert "| emodb | target | 32 |" in text
        for store in (source, target):
            assert store.fingerprint[:16] in text
            assert store.snapshot.citation.replace("&", r"\&") in text
            assert store.snapshot.licence in text
        assert r"settings other than the defaults: batch\_size = 8, frames = 32, log\_every = 1, channels = 8" in text
        assert "Ye et al. 2023" in text
        assert str(trained_run.parent) not in text  # no local path

    def test_python_example_runs(
        self,
        trained_run: Path,
        roots: dict[str, Path],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        (python, _onnx) = re.findall(r"```python\n(.*?)```", render_card(RunFolder(trained_run)), re.DOTALL)
        (tmp_path / "RUN").symlink_to(trained_run)
        shutil.copy(sorted((roots["emodb"] / "wav").glob("*.wav"))[0], tmp_path / "speech.wav")
        monkeypatch.chdir(tmp_path)
        exec(python, {})
        assert re.fullmatch(r"speech\.wav 0\.\d+ None\n", capsys.readouterr().out)


def test_card_names_several_sources_and_a_target_without_labels(
    source: FeatureStore, target: FeatureStore, roots: dict[str, Path], tmp_path: Path
) -> None:
    second = make_manifest_store(roots["ravdess"], read_emotions(source), tmp_path / "cache", name="second")
    unlabelled = make_manifest_store(roots["emodb"], dict.fromkeys(read_emotions(target), ""), tmp_path / "cache")
    fit_small([source, second], unlabelled, tmp_path / "run", steps=1, method="source-only")
    front, text = split_card((tmp_path / "run" / "MODEL_CARD.md").read_text())
    assert "model-index" not in front
    assert front["datasets"] == ["ravdess", "second", "own"]
    assert "Not known: own has no arousal labels." in text
    assert "from the labels of ravdess + second, for recordings such as own." in text
    assert "| second | source | 32 |" in text
    assert "| own | target | 32 |" in text


def test_card_of_several_classes_has_their_recalls(source: FeatureStore, target: FeatureStore, tmp_path: Path) -> None:
    task = make_emotion_task(["emobox4"])
    result = fit_small(source, target, tmp_path / "run", steps=1, method="source-only", task=task)
    text = (tmp_path / "run" / "MODEL_CARD.md").read_text()
    assert "Predicts the probability of each class of emotion: anger, happiness, neutral, sadness." in text
    recalls = ", ".join(f"{name} {result['recalls'][name]:.1f}" for name in task.classes)
    assert f"Recall in percent: {recalls}." in text
    assert "| percent | UAR | WAR | macro-F1 |" in text
    assert f"Measured on {result['scored']} labelled utterances of emodb." in text
    (counts,) = re.findall(r"\| emodb \| target \| 32 \|.*", text)
    assert sum(map(int, counts.split(" | ")[6:11])) == 32


@pytest.mark.parametrize(
    ("normalisation", "settings", "method", "part"),
    [
        ("source", {}, "svm", "were not used in training."),
        ("per-corpus", {}, "svm", "were not used in training, but their mean"),
        ("source", {"target_bn": "true"}, "source-only", "transductive"),
        ("per-speaker", {}, "source-only", "were not used in training, but their mean"),
    ],
)
def test_card_tells_how_training_used_the_scored_recordings(
    normalisation: str, settings: dict[str, str], method: str, part: str, pair: Stores, tmp_path: Path
) -> None:
    steps = None if method == "svm" else 1
    changed = {"normalisation": normalisation, **settings}
    fit(FitRequest([pair[0]], pair[1], method=method, steps=steps, settings=changed, out=tmp_path), SilentCallback())
    assert part in (tmp_path / "MODEL_CARD.md").read_text()


def test_text_from_outside_is_escaped(run: RunFolder) -> None:
    hostile = "CC BY-NC\n---\n# Free!\n<script>alert(1)</script> [here](http://evil) `a` *b* | c\x1b[31m ${d} \ud800"

    def put(document: Any) -> None:
        for corpus in document["corpora"]:
            corpus.update(licence=hostile, citation=hostile, languages=[hostile])

    before = split_card(render_card(run))[1]
    edit_json(run.corpora, put)
    front, text = split_card(render_card(run))
    assert front["language"] == [hostile]
    headings = re.compile(r"^#.*$|^---.*$", re.MULTILINE)
    assert headings.findall(text) == headings.findall(before)
    assert len(text.splitlines()) == len(before.splitlines())
    assert not re.search(r"(?<!\\)[<\[`*|$]", next(line for line in text.splitlines() if "Cite:" in line))
    assert "\x1b" not in text
    text.encode()


def test_non_commercial_licences_are_stated(run: RunFolder) -> None:
    for licence, forbids in (
        ("CC BY-NC-SA 4.0", True),
        ("free for research, terms unclear", True),
        ("non-commercial use only", True),
        ("open (CC0-1.0 or CC BY 4.0: sources differ)", False),
        ("the user's own", False),
        ("", False),
    ):
        edit_json(run.corpora, lambda document, to=licence: [each.update(licence=to) for each in document["corpora"]])
        assert [each.forbids_commerce for each in read_corpora(run)] == [forbids, forbids]
        assert ("**Not for commercial use**, by the terms of ravdess and emodb." in render_card(run)) == forbids


def test_corpora_are_read_as_they_were_written(trained_run: Path, target: FeatureStore) -> None:
    source, found = read_corpora(RunFolder(trained_run))
    assert (source.role, found.role) == ("source", "target")
    labels = target.labels("arousal")
    assert found.classes == {"low": int((labels == 0).sum()), "high": int((labels == 1).sum())}
    assert (found.unlabelled, found.utterances, found.speakers, found.languages) == (0, 32, 2, ["de"])
    assert sum(found.emotions.values()) == 32
