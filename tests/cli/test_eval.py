"""emodna-eval: text, JSON, files, pictures and errors."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import soxr
from rich.console import Console

from emodna.cli import eval as eval_command
from emodna.cli import predict as predict_command
from emodna.cli.scores import make_confusion_table
from emodna.model.fit import fit as run_fit
from emodna.model.provenance import write_audio
from emodna.model.request import FitRequest
from emodna.model.run_folder import RunFolder
from emodna.pipeline.corpora import load_corpus
from emodna.pipeline.corpora.own import Manifest
from emodna.pipeline.emotions import EMOTIONS
from emodna.pipeline.features import make_feature_set
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.tasks import make_emotion_task
from tests.model.small import SETTINGS, CommandResult, SilentCallback, assert_one_line_error, run_command
from tests.pipeline.making import prepare_corpus

KEYS = [
    "run", "src", "tgt", "task", "method", "seed", "steps", "supervision", "label", "normalisation",
    "speakers", "corpus", "store", "exposure", "seen", "utterances", "labelled", "excluded",
    "war", "f1", "uar", "macro_f1",
    "constant", "intervals", "classes", "confusion", "recalls", "left_out", "calibration", "audio", "breakdown",
    "wall_seconds", "outside", "predictions",
]  # fmt: skip


@pytest.fixture(scope="module")
def own_cache(emodb_root: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache that also has `calls`, without labels, and `staff`, with labels and a hostile speaker name."""
    folder = Path(shutil.copytree(cache, tmp_path_factory.mktemp("own") / "cache"))
    files = sorted(path.relative_to(emodb_root) for path in emodb_root.glob("wav/*.wav"))
    for name, header, cells in (
        ("calls", "path", [""] * 5),
        ("staff", "path,emotion,speaker", [",anger,[red]x\x1b[2J", ",sadness,b", ",anger,b", ",sadness,c", ",anger,c"]),
    ):
        table = folder.parent / f"{name}.csv"
        table.write_text("\n".join([header, *(f"{file}{cell}" for file, cell in zip(files, cells, strict=False))]))
        prepare_corpus(emodb_root, folder, Manifest(table, name))
    return folder


def evaluate(run: Path, cache: Path, *arguments: object) -> CommandResult:
    return run_command(eval_command.main, run, "--cache", cache, "--threads", 1, "--resamples", 100, *arguments)


def parse_documents(answer: CommandResult) -> list[dict[str, Any]]:
    assert answer.code == 0, answer.err
    return json.loads(answer.out)


class TestJson:
    def test_json_is_an_array_with_the_documented_keys_of_each_corpus(self, run: Path, own_cache: Path) -> None:
        arguments = [part for name in ("staff", "emodb", "calls") for part in ("--corpus", name)]
        found = parse_documents(evaluate(run, own_cache, *arguments, "--json"))
        assert [list(each) for each in found] == [KEYS] * 3
        assert [each["corpus"] for each in found] == ["staff", "emodb", "calls"]
        assert [each["seen"] for each in found] == ["target"] * 3  # by their recordings
        assert [(each["labelled"], each["war"] is None) for each in found] == [(5, False), (20, False), (0, True)]
        for each in found:
            assert each["run"] == str(run)
            assert Path(each["store"]).parent.name == each["corpus"]
            assert list(each["intervals"]) == ["level", "resamples", "seed", "utterances", "speakers"]
            assert (each["intervals"]["resamples"], each["predictions"]) == (100, None)
            assert list(each["constant"]) == ["always_low", "always_high", "majority", "prior_proportional"]

    def test_features_and_normalisation_of_the_run_are_used(
        self, cache: Path, ravdess_root: Path, emodb_root: Path, tmp_path: Path
    ) -> None:
        folder = Path(shutil.copytree(cache, tmp_path / "cache"))
        source, target = (
            FeatureStore(prepare_corpus(root, folder, load_corpus(name), features=make_feature_set("mfcc39")).store)
            for name, root in (("ravdess", ravdess_root), ("emodb", emodb_root))
        )
        settings = {**SETTINGS, "normalisation": "per-corpus"}
        request = FitRequest([source], target, method="source-only", steps=1, settings=settings, out=tmp_path / "run")
        run_fit(request, SilentCallback())
        (found,) = parse_documents(evaluate(tmp_path / "run", folder, "--corpus", "emodb", "--json"))
        assert Path(found["store"]).name.startswith("mfcc39-")
        assert "normalised by its own statistics" in evaluate(tmp_path / "run", folder, "--corpus", "emodb").out


class TestText:
    def test_text_has_scores_constant_predictors_and_breakdowns(self, run: Path, own_cache: Path) -> None:
        answer = evaluate(run, own_cache, "--corpus", "staff")
        assert answer.code == 0
        lines = [line.strip() for line in answer.out.splitlines()]
        for beginning in (
            *("staff, 5 utterances, by ravdess -> emodb", "emo-dna ", "95 %, 5 utterances ", "95 %, 3 speakers "),
            *("always high ", "majority ", "anger ", "calibration  ECE 0.", "3 speakers are few"),
        ):
            assert any(line.startswith(beginning) for line in lines)
        assert "[red]x\\x1b[2J" in answer.out
        assert "\x1b" not in answer.out
        assert "gender" not in answer.out  # it is unknown, and a single row is not shown
        assert "no arousal labels: nothing to score" in evaluate(run, own_cache, "--corpus", "calls").out

    def test_seen_and_unseen_audio_are_counted_and_scored_apart(
        self, run: Path, cache: Path, own_cache: Path, tmp_path: Path
    ) -> None:
        half = Path(shutil.copytree(run, tmp_path / "half"))
        staff = FeatureStore(next((own_cache / "staff").iterdir()))
        write_audio(RunFolder(half), [], staff, "arousal")
        out = tmp_path / "new"
        answer = evaluate(half, cache, "--corpus", "emodb", "--out", out, "--png", out / "r.png")
        assert (out / "r.png").exists()
        assert "adapted to 5 of its 20 utterances without their labels; only the scores of the other 15" in answer.err
        lines = [line.split() for line in answer.out.splitlines()]
        assert {line[0]: line[1] for line in lines if line and line[0] in ("seen", "unseen")} == {
            "seen": "5",
            "unseen": "15",
        }

    def test_labels_of_recordings_that_are_also_in_a_source_are_told(
        self, run: Path, cache: Path, own_cache: Path, tmp_path: Path
    ) -> None:
        both = Path(shutil.copytree(run, tmp_path / "both"))
        staff, emodb = (FeatureStore(next((folder).iterdir())) for folder in (own_cache / "staff", cache / "emodb"))
        write_audio(RunFolder(both), [staff], emodb, "arousal")
        err = evaluate(both, cache, "--corpus", "emodb").err
        assert "trained on 5 of its 20 utterances with their labels (in ravdess) and adapted to 15 without" in err
        assert "none is new audio" in err

    def test_use_in_training_is_noted_unless_quiet(self, run: Path, cache: Path) -> None:
        assert "without its labels" in evaluate(run, cache, "--corpus", "emodb").err
        assert evaluate(run, cache, "--corpus", "emodb", "-q").err == ""


class TestFiles:
    def test_out_has_the_document_and_the_predictions(self, run: Path, own_cache: Path, tmp_path: Path) -> None:
        out = tmp_path / "a" / "b"
        answer = evaluate(run, own_cache, *("--corpus", "staff", "--corpus", "calls", "--out", out, "--json"))
        for each in parse_documents(answer):
            name = each["corpus"]
            assert json.loads((out / f"evaluation-{name}.json").read_text()) == each
            assert each["predictions"] == str(out / f"predictions-{name}.parquet")
            table = pq.read_table(each["predictions"])
            assert table.column_names[:3] == ["id", "probability", "label"]
            assert table["id"].to_pylist() == FeatureStore(each["store"]).ids
        assert len(list(out.iterdir())) == 4

    def test_utterances_outside_the_training_audio_are_counted_and_named(
        self, run: Path, emodb_root: Path, tmp_path: Path
    ) -> None:
        for number, file in enumerate(sorted(emodb_root.glob("wav/*.wav"))[:3]):
            samples, rate = soundfile.read(file)
            samples, rate = (soxr.resample(samples, rate, 8000), 8000) if number else (samples, rate)
            soundfile.write(tmp_path / f"{number}.wav", samples, rate)
        (tmp_path / "calls.csv").write_text("path\n0.wav\n1.wav\n2.wav\n")
        prepare_corpus(tmp_path, tmp_path / "cache", Manifest(tmp_path / "calls.csv", "calls"))
        answer = evaluate(run, tmp_path / "cache", "--corpus", "calls", "--out", tmp_path / "out", "--json")
        (document,) = parse_documents(answer)
        assert document["outside"]["utterances"] == document["outside"]["bandwidth"] == 2
        assert "calls: 2 of 3 utterances outside the training audio: bandwidth" in answer.err
        assert pq.read_table(document["predictions"])["outside"].to_pylist()[0] == ""

    def test_no_files_are_written_by_default(
        self, run: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        before = sorted(path.name for path in run.iterdir())
        assert evaluate(run, cache, "--corpus", "emodb").code == 0
        assert list(tmp_path.iterdir()) == []
        assert sorted(path.name for path in run.iterdir()) == before

    def test_png_shows_the_labelled_corpora(self, run: Path, own_cache: Path, tmp_path: Path) -> None:
        arguments = ("--corpus", "staff", "--corpus", "calls", "--corpus", "emodb", "--png", tmp_path / "r.png")
        answer = evaluate(run, own_cache, *arguments)
        assert answer.code == 0
        assert answer.err.splitlines()[-1] == f"wrote {tmp_path / 'r.png'}"
        assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")
        answer = evaluate(run, own_cache, "--corpus", "calls", "--png", tmp_path / "none.png")
        assert "not drawn, no corpus has labels" in answer.err
        assert not (tmp_path / "none.png").exists()


class TestErrors:
    def test_missing_corpora_are_found_before_any_prediction(self, run: Path, cache: Path, tmp_path: Path) -> None:
        answer = evaluate(run, cache, "--corpus", "emodb", "--corpus", "savee", "--out", tmp_path / "out")
        assert_one_line_error(answer, "savee", "emodb, ravdess")
        assert list(tmp_path.iterdir()) == []

    def test_unusable_figures_are_found_before_any_prediction(self, run: Path, cache: Path, tmp_path: Path) -> None:
        for name, problem in (("r.pdf", "unknown suffix; valid: .png"), ("no/r.png", "not found")):
            answer = evaluate(run, cache, "--corpus", "emodb", "--png", tmp_path / name)
            assert_one_line_error(answer, f"--png {tmp_path / name}", problem)

    def test_missing_run_and_missing_corpus_are_errors(self, run: Path, cache: Path, tmp_path: Path) -> None:
        assert_one_line_error(evaluate(tmp_path, cache, "--corpus", "emodb"), "not a run folder", "emodna-runs ls")
        answer = run_command(eval_command.main, run)
        assert (answer.code, answer.out) == (2, "")
        assert "--corpus" in answer.err

    def test_two_stores_of_one_corpus_cannot_share_files(self, run: Path, cache: Path, tmp_path: Path) -> None:
        (store,) = (cache / "emodb").iterdir()
        arguments = ("--corpus", "emodb", "--corpus", store)
        answer = evaluate(run, cache, *arguments, "--out", tmp_path / "out")
        assert_one_line_error(answer, "--corpus emodb: given more than once")
        assert not (tmp_path / "out").exists()
        assert len(parse_documents(evaluate(run, cache, *arguments, "--json"))) == 2


def test_a_corpus_or_folder_without_speakers_is_told_to_a_model_with_normalisation_by_speaker(
    own_cache: Path, emodb_root: Path, tmp_path: Path
) -> None:
    stores = [FeatureStore(next((own_cache / name).iterdir())) for name in ("ravdess", "emodb")]
    settings = {**SETTINGS, "normalisation": "per-speaker"}
    request = FitRequest(stores[:1], stores[1], method="source-only", steps=1, settings=settings, out=tmp_path / "run")
    run_fit(request, SilentCallback())
    of_speakers = "each speaker normalised by its own statistics"
    assert of_speakers in evaluate(tmp_path / "run", own_cache, "--corpus", "staff").out
    answer = evaluate(tmp_path / "run", own_cache, "--corpus", "calls").out
    assert ("no utterance has a speaker" in answer, of_speakers in answer) == (True, False)
    files = sorted(emodb_root.glob("wav/*.wav"))[:2]
    line = next(
        line
        for line in run_command(predict_command.main, tmp_path / "run", *files, "--threads", 1).err.splitlines()
        if "2 of 2 files normalised" in line
    )
    assert "column speaker" in line


def test_four_emotions_are_selected_without_labels_and_evaluated(cache: Path, tmp_path: Path) -> None:
    source, target = (FeatureStore(next((cache / name).iterdir())) for name in ("ravdess", "emodb"))
    run, task = tmp_path / "run", make_emotion_task(["emobox4"])
    request = FitRequest(
        [source], target, task=task, method="source-only", select="entropy", steps=2, settings=SETTINGS, out=run
    )
    result = run_fit(request, SilentCallback())
    for row in json.loads((run / "selection.json").read_text())["snapshots"]:
        assert list(row["class_shares"]) == list(task.classes)
        assert sum(row["class_shares"].values()) == pytest.approx(1)
    (found,) = parse_documents(evaluate(run, cache, "--corpus", "emodb", "--json"))
    shared = ("uar", "war", "f1", "macro_f1", "constant", "confusion", "recalls", "left_out")
    assert {key: found[key] for key in shared} == {key: result[key] for key in shared}
    assert (found["f1"], found["calibration"]["probability"]) == (None, None)
    assert sum(found["left_out"].values()) == found["utterances"] - found["labelled"] > 0
    answer = evaluate(run, cache, "--corpus", "emodb", "--png", tmp_path / "r.png")
    assert answer.code == 0
    assert (tmp_path / "r.png").exists()
    lines = [line.split() for line in answer.out.splitlines()]
    assert ["percent", "UAR", "WAR", "macro-F1"] in lines
    for name, counts in zip(task.classes, found["confusion"], strict=True):
        assert any(line[:5] == [name, *map(str, counts)] for line in lines)


@pytest.mark.parametrize(
    "classes",
    [sorted(EMOTIONS)[:8], sorted(EMOTIONS), ["not at all satisfied with it", "indifferent", "delighted"] * 2],
)
def test_confusions_fit_80_columns(classes: list[str]) -> None:
    counts = np.arange(len(classes) ** 2).reshape(len(classes), -1) + 12345
    document = {"classes": classes, "confusion": counts.tolist(), "recalls": dict(enumerate([50.0] * len(classes)))}
    console = Console(width=80, file=io.StringIO())
    console.print(make_confusion_table(document, 80))
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    for row in counts.tolist():
        assert any(line.split()[-len(row) - 1 :] == [*map(str, row), "50.0"] for line in lines)
