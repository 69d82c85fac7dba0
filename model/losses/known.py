"""Cross-entropy where some labels are unknown."""

import torch.nn.functional as F
from torch import Tensor

#: The label of an utterance of which nothing is known.
UNKNOWN = -1


def cross_entropy_of_known(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of the rows whose label is known.

    Parameters
    ----------
    logits
        (n, classes)
    labels
        (n,) int64; -1 where it is unknown.

    Returns
    -------
    Tensor
        A scalar; 0, with a gradient of 0, if no label is known.
    """
    total = F.cross_entropy(logits, labels, ignore_index=UNKNOWN, reduction="sum")
    return total / (labels != UNKNOWN).sum().clamp_min(1)
