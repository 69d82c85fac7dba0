"""Exposure of a result: whether the training of its feature set contained the scored corpus."""

from emodna.pipeline.corpora import find_selection
from emodna.pipeline.encoders.known import Exposure, KnownEncoder, find_known_encoder
from emodna.pipeline.features.base import FeatureSet


def find_exposure(features: FeatureSet, corpus: str) -> Exposure:
    """Return whether the training of a feature set contained a corpus, given by the name of its store.

    Features that are computed by rules alone have seen nothing. Features of an encoder that is not known, and of
    corpora that are not known, may have seen anything.
    """
    if not features.is_trained:
        return "no"
    encoder, selection = find_encoder_of(features), find_selection(corpus)
    if encoder is None or selection is None or selection.corpus not in encoder.seen:
        return "unknown"
    return encoder.seen[selection.corpus].exposure


def find_encoder_of(features: FeatureSet) -> KnownEncoder | None:
    """Return the published encoder whose hidden states a feature set holds; None if there is none."""
    sha256 = features.parameters().get("encoder_sha256")
    return find_known_encoder(str(sha256), features.location) if sha256 is not None else None
