"""Two small corpora of emotional pseudo-speech in the layouts of RAVDESS and EMODB, for the demo and the tests."""

from tests.synthesis.corpora import make_emodb, make_ravdess

__all__ = ["make_emodb", "make_ravdess"]
