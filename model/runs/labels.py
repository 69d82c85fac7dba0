"""What a card says of the labels that a model was made from, by the run's supervision."""

from collections.abc import Sequence
from typing import Final

from emodna.model.provenance import RunCorpus
from emodna.pipeline.cards import markdown_text

SCORED: Final = {
    "source": (
        "The scores are transductive: the recordings that are scored are those that the method was given, without their"
        " labels. On others of the same kind, expect less."
    ),
    "oracle-labels": (
        "The scores are an oracle's: the recordings that are scored are those that it was given, with their labels."
        " They say nothing of other recordings."
    ),
    "oracle-folds": (
        "The scores are an oracle's, cross-validated: each recording is judged by the network that was trained without"
        " its speaker. The model that lies here, all of these networks together, has heard every speaker."
    ),
}
"""How the scores have come about."""


def named(corpora: Sequence[RunCorpus], role: str) -> str:
    """Names of the corpora of a role."""
    return " + ".join(corpus.name for corpus in corpora if corpus.role == role)


def learnt_from(supervision: str, corpora: Sequence[RunCorpus], shared: int) -> str:
    """Whose labels it was, in Markdown, behind "from".

    Parameters
    ----------
    shared
        Recordings of the target that a source has, too.
    """
    source, target = (markdown_text(named(corpora, role)) for role in ("source", "target"))
    if supervision == "oracle-folds":
        return (
            f"the labels of {target}. **An oracle: it has what adaptation must do without, so it is a bound for"
            f" methods, not one of them.** {source} had no part in it, except where features are normalised by its"
            " statistics. It is several networks, each trained without some of the speakers; together they answer by"
            " the mean of their log-probabilities."
        )
    if supervision == "oracle-labels":
        return (
            f"the labels of {source} and those of {target}. **An oracle: the latter stand in for pseudo-labels, so it"
            " is a bound for methods, not one of them.**"
        )
    if shared:
        part = f"**{shared} of the latter's recordings are among the former's, with their labels.**"
    else:
        part = "The labels of the latter had no part in it."
    return f"the labels of {source}, for recordings such as {target}. {part}"
