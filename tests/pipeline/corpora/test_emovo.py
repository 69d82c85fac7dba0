"""EMOVO's file names, and its two microphones."""

from pathlib import Path, PurePosixPath
from string import ascii_lowercase, digits

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emodna.pipeline.corpora import corpus
from emodna.pipeline.corpora.base import Skip, Utterance
from emodna.pipeline.store import FeatureStore
from tests.pipeline.corpora.builders import put
from tests.pipeline.making import Float32, noise, pcm16, prepared, wav


def described(path: str) -> Utterance | Skip | None:
    return corpus("emovo").describe(PurePosixPath(path))


def test_a_name_tells_emotion_speaker_and_sentence() -> None:
    assert described("EMOVO/f1/rab-f1-b1.wav") == Utterance(
        id="rab-f1-b1",
        path="EMOVO/f1/rab-f1-b1.wav",
        speaker="f1",
        gender="f",
        language="it",
        text="b1",
        emotion_code="rab",
        emotion="anger",
    )


def test_there_are_six_speakers_and_fourteen_sentences() -> None:
    letters = [letter + digit for letter in ascii_lowercase for digit in digits]
    speakers = {s for s in letters if isinstance(described(f"neu-{s}-b1.wav"), Utterance)}
    sentences = {s for s in letters if isinstance(described(f"neu-f1-{s}.wav"), Utterance)}
    assert speakers == {"f1", "f2", "f3", "m1", "m2", "m3"}
    assert sentences == {"b1", "b2", "b3", "l1", "l2", "l3", "l4", "n1", "n2", "n3", "n4", "n5", "d1", "d2"}


def test_other_speakers_and_sentences_are_left_out_by_their_name() -> None:
    assert described("f4/rab-f4-b1.wav") == Skip("unknown speaker f4")
    assert described("f1/rab-f1-b4.wav") == Skip("unknown sentence b4")


@pytest.mark.parametrize(
    "name", ["rab-f1.wav", "rab-f1-b1-2.wav", "rabbia-f1-b1.wav", "rab_f1_b1.wav", "rab-f1-b1 2.wav"]
)
def test_other_names_are_outside_the_grammar(name: str) -> None:
    assert described(f"f1/{name}") is None


@settings(max_examples=30)
@given(
    st.text("aeioubRBnu", min_size=3, max_size=3),
    st.builds("{}{}".format, st.sampled_from("fFmMx"), st.integers(0, 9)),
    st.builds("{}{}".format, st.sampled_from("bBlLnNdDx"), st.integers(0, 9)),
)
def test_every_name_of_the_grammar_is_an_utterance_by_its_own_name_or_left_out(
    emotion: str, speaker: str, sentence: str
) -> None:
    stem = f"{emotion}-{speaker}-{sentence}"
    match described(f"{stem}.wav"):
        case Utterance() as utterance:
            assert utterance.id == stem.lower()
            assert utterance.gender == speaker[0].lower()
        case other:
            assert isinstance(other, Skip)


class TestTwoMicrophones:
    """Nearly all files are stereo, and one microphone hears the voice 0.2 to 0.7 ms after the other."""

    RATE = 48_000
    FIRST = noise(seconds=0.3, rate=RATE, seed="voice")
    SECOND = np.concatenate([np.zeros(24, np.float32), FIRST[:-24]])  # 0.5 ms later

    def features(self, root: Path, audio: bytes) -> Float32:
        put(root / "f1" / "rab-f1-b1.wav", audio)
        return FeatureStore(prepared(root, root / "cache", corpus("emovo")).store)[0]

    def test_features_are_bit_by_bit_those_of_the_first_one_alone(self, tmp_path: Path) -> None:
        both = pcm16(np.stack([self.FIRST, self.SECOND], axis=1).ravel())
        stereo = self.features(tmp_path / "stereo", wav(both, self.RATE, channels=2))
        mono = self.features(tmp_path / "mono", wav(self.FIRST, self.RATE))
        twice = self.features(tmp_path / "twice", wav(pcm16(np.repeat(self.FIRST, 2)), self.RATE, channels=2))
        assert stereo.tobytes() == mono.tobytes() == twice.tobytes()

    def test_their_mean_would_be_another_voice(self, tmp_path: Path) -> None:
        """It lacks all that is near the odd multiples of 1 kHz."""
        alone = self.features(tmp_path / "alone", wav(self.FIRST, self.RATE))
        mean = self.features(tmp_path / "mean", wav((self.FIRST + self.SECOND) / 2, self.RATE))
        assert np.abs(alone - mean).max() > 10
