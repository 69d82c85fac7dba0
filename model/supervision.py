"""The word that stands beside every result of a run that learnt from the target's labels. It needs no torch."""

from typing import Final

#: What `Method.supervision` is of a run that no label of the target had a part in.
BLIND: Final = "source"
ORACLE: Final = "oracle"


def is_oracle(supervision: object) -> bool:
    """Whether a run of this `Method.supervision` learnt from the target's labels; None where nothing is known of it."""
    return supervision not in (None, BLIND)


def marked(method: object, supervision: object) -> str:
    """A method's name as it stands beside its results."""
    return f"{method} ({ORACLE})" if is_oracle(supervision) else str(method)
