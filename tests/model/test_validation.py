"""Held-out utterances of a source: whole speakers if there are enough, both classes on both sides."""

from pathlib import Path

import numpy as np
import pytest

from emodna.model.data.validation import Split, split
from emodna.model.errors import TrainingError
from emodna.pipeline.corpora.own import Manifest
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.tasks import AROUSAL, VALENCE, Task, make_emotion_task
from tests.model.small import make_manifest_store, prepare_store, read_emotions
from tests.pipeline.making import noise, wav

tasks = pytest.mark.parametrize("task", [AROUSAL, VALENCE, make_emotion_task(["emobox4"])], ids=lambda task: task.name)


def speakers(store: FeatureStore, rows: np.ndarray) -> list[str]:
    return [store.column("speaker")[row] for row in rows]


def assert_valid(found: Split, store: FeatureStore, task: Task) -> None:
    labels = store.labels(task)
    kept = np.flatnonzero(found.labels >= 0)
    assert sorted([*kept, *found.held_out]) == np.flatnonzero(labels >= 0).tolist()
    assert (found.labels[kept] == labels[kept]).all()
    assert (found.truth == labels[found.held_out]).all()
    assert set(found.truth) == set(found.labels[kept]) == set(range(len(task)))


def test_a_share_that_leaves_too_little_to_train_on_is_an_error(source: FeatureStore) -> None:
    with pytest.raises(TrainingError, match=r"0\.99") as raised:
        split(source, AROUSAL, 0.99, 0)
    assert raised.value.field == "sources"


def test_a_share_of_0_holds_out_nothing(source: FeatureStore) -> None:
    found = split(source, AROUSAL, 0.0, 0)
    assert found.by is None
    assert (found.labels == source.labels("arousal")).all()
    assert len(found.held_out) == len(found.truth) == 0


class TestSpeakers:
    @tasks
    def test_speakers_are_held_out_whole(self, task: Task, source: FeatureStore) -> None:
        found = split(source, task, 0.5, 0)  # one of two
        assert found.by == "speaker"
        assert_valid(found, source, task)
        (one,) = set(speakers(source, found.held_out))
        assert one not in speakers(source, np.flatnonzero(found.labels >= 0))

    def test_speakers_depend_on_the_seed_only(self, source: FeatureStore) -> None:
        np.random.seed(1)  # other random states do not matter
        chosen = [tuple(split(source, AROUSAL, 0.5, seed).held_out.tolist()) for seed in range(8)]
        np.random.seed(2)
        assert chosen == [tuple(split(source, AROUSAL, 0.5, seed).held_out.tolist()) for seed in range(8)]
        assert len(set(chosen)) == 2

    def test_speakers_may_be_unknown(self, source: FeatureStore, roots: dict[str, Path], tmp_path: Path) -> None:
        store = make_manifest_store(roots["ravdess"], read_emotions(source), tmp_path)  # a manifest without speakers
        assert split(store, AROUSAL, 0.5, 0).by == "utterance"

    def test_speakers_may_have_one_class(self, source: FeatureStore, roots: dict[str, Path], tmp_path: Path) -> None:
        emotions = read_emotions(source)
        speaker_of = {path: f"speaker {n % 2}" for n, path in enumerate(emotions)}
        emotions = {path: "anger" if speaker_of[path] == "speaker 0" else "sadness" for path in emotions}
        found = split(make_manifest_store(roots["ravdess"], emotions, tmp_path, speaker=speaker_of), AROUSAL, 0.5, 0)
        assert found.by == "utterance"


def test_segments_of_a_recording_are_held_out_together(tmp_path: Path) -> None:
    rows = ["path,start,end,emotion\n"]
    for number in range(4):
        (tmp_path / f"{number}.wav").write_bytes(wav(noise(2.0, seed=number)))
        rows += [f"{number}.wav,{start},{start + 1},{emotion}\n" for start, emotion in ((0, "anger"), (0.5, "sad"))]
    (tmp_path / "t.csv").write_text("".join(rows))
    store = prepare_store(Manifest(tmp_path / "t.csv", "t"), tmp_path, tmp_path / "cache")
    found = split(store, AROUSAL, 0.25, 0)
    assert found.by == "recording"
    assert len(found.held_out) == 2
    assert len({store.column("path")[row] for row in found.held_out}) == 1


class TestUtterances:
    @pytest.mark.parametrize("share", [0.2, 0.4])
    @tasks
    def test_the_same_share_of_each_class_is_held_out(self, task: Task, share: float, source: FeatureStore) -> None:
        found = split(source, task, share, 3)
        assert_valid(found, source, task)
        for one in range(len(task)):
            assert (found.truth == one).sum() == pytest.approx(share * (source.labels(task) == one).sum(), abs=1)

    def test_missing_labels_are_ignored(self, source: FeatureStore, roots: dict[str, Path], tmp_path: Path) -> None:
        emotions = read_emotions(source)
        emotions |= dict.fromkeys(list(emotions)[::3], "")
        store = make_manifest_store(roots["ravdess"], emotions, tmp_path)
        assert_valid(split(store, AROUSAL, 0.2, 0), store, AROUSAL)

    @pytest.mark.parametrize("emotions", [("anger", "sadness"), ("anger", "anger", "anger", "anger", "sadness")])
    def test_too_few_utterances_are_an_error(
        self, emotions: tuple[str, ...], source: FeatureStore, roots: dict[str, Path], tmp_path: Path
    ) -> None:
        paths = list(read_emotions(source))[: len(emotions)]
        store = make_manifest_store(roots["ravdess"], dict(zip(paths, emotions, strict=True)), tmp_path)
        with pytest.raises(TrainingError) as raised:
            split(store, AROUSAL, 0.1, 0)
        assert (raised.value.field, raised.value.value) == ("sources", "own")
        assert "1 utterance of arousal low" in raised.value.problem  # the rarest class
