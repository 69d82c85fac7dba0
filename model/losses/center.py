"""Center loss: features drawn to a learnt center of their class.

References
----------
.. [1] Y. Wen et al., "A discriminative feature learning approach for deep face recognition", ECCV 2016.
"""

import torch
from torch import Tensor


def center_loss(features: Tensor, labels: Tensor, centers: Tensor) -> Tensor:
    """Half the mean squared distance of features to the center of their class ([1]_, whose equation 2 is a sum).

    Its gradient moves the centers, too: in the paper they go by a rate of their own towards the mean of their class.

    Parameters
    ----------
    features
        (n, d)
    labels
        (n,) int64, from 0.
    centers
        (classes, d)

    Returns
    -------
    Tensor
        A scalar of at least float32.

    Raises
    ------
    ValueError
        The shapes are other ones.
    """
    if features.ndim != 2 or labels.shape != features.shape[:1] or centers.shape[1:] != features.shape[1:]:
        raise ValueError(
            "features, labels and centers must have shapes (n, d), (n,) and (classes, d), "
            f"got {tuple(features.shape)}, {tuple(labels.shape)} and {tuple(centers.shape)}"
        )
    with torch.autocast(features.device.type, enabled=False):
        dtype = torch.promote_types(features.dtype, torch.float32)
        of_class = labels.unsqueeze(1) == torch.arange(len(centers), device=labels.device)  # (n, classes)
        # A product instead of an index: its gradient is deterministic on every device.
        own = of_class.to(dtype) @ centers.to(dtype)  # (n, d)
        return (features.to(dtype) - own).square().sum(1).mean() / 2
