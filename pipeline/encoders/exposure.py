"""Exposure of a result: whether the training of its feature set contained the scored corpus."""

from emodna.pipeline.corpora import find_selection
from emodna.pipeline.encoders.known import KNOWN_ENCODERS, Exposure, KnownEncoder, find_known_encoder
from emodna.pipeline.features.base import FeatureSet


def find_exposure(features: FeatureSet, corpus: str) -> Exposure:
    """Return the answer to the question whether the training of a feature set contained a corpus.

    `corpus` is the name of its store. Features that are computed by rules alone have seen nothing. An encoder that is
    not known may have seen anything, and the training of a known one may contain a corpus that the table lacks. Of
    another commit of a known repository, only the answer "yes" holds.
    """
    if not features.is_trained:
        return "no"
    encoder, selection = find_encoder_of(features), find_selection(corpus)
    name = selection.corpus if selection is not None else corpus
    if encoder is not None:
        return encoder.seen[name].exposure if name in encoder.seen else "unknown"
    repository = (features.location or "").partition("@")[0]
    others = (each.seen.get(name) for each in KNOWN_ENCODERS.values() if each.hub == repository)
    return "yes" if any(each is not None and each.exposure == "yes" for each in others) else "unknown"


def name_trained_model(features: FeatureSet) -> str:
    """Return words for the model whose values a feature set holds, such as "the encoder smart-turn-v3.2"."""
    parameters = features.parameters()
    if "encoder" in parameters:
        return f"the encoder {parameters['encoder']}"
    kind = "embeddings" if "embeddings" in parameters else "features"
    return f"the model of the {kind} {parameters.get('embeddings', features.title)}"


def find_encoder_of(features: FeatureSet) -> KnownEncoder | None:
    """Return the published encoder whose hidden states a feature set holds; None if there is none."""
    sha256 = features.parameters().get("encoder_sha256")
    return None if sha256 is None else find_known_encoder(str(sha256), features.location)
