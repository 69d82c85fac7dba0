"""Joint maximum mean discrepancy (JMMD): of features and of what the network answers, together.

.. [1] M. Long et al., "Deep transfer learning with joint adaptation networks", ICML 2017, arXiv 1605.06636.
"""

from typing import NamedTuple, Unpack

from torch import Tensor

from emodna.model.losses import check_positive
from emodna.model.losses.kernels import KernelOptions, gaussian_kernel, heuristic_kernel, joint_distances
from emodna.model.losses.mmd import Estimator, squared_mmd

PROBABILITY_WIDTH = 1.6928
"""Kernel width of class probabilities in most code: 2 * 0.92^2. Their squared distances reach 2, whatever the batch."""


class LayerOutputs(NamedTuple):
    """Output of a network for the utterances of one corpus."""

    features: Tensor
    """Shape ``(n, d)``."""
    probabilities: Tensor
    """Of the classes, shape ``(n, c)``."""


def joint_mmd(
    source: LayerOutputs,
    target: LayerOutputs,
    *,
    probability_width: float = PROBABILITY_WIDTH,
    estimator: Estimator = "biased",
    **kernel: Unpack[KernelOptions],
) -> Tensor:
    """Return the squared discrepancy, a scalar, of the joint distributions of features and class probabilities [1]_.

    The kernel of two utterances is the product over the layers of each layer's own kernel, ``k_E(E_i, E_j)
    k_P(P_i, P_j)``: for features the Gaussians of `mk_mmd`, for probabilities ``exp(-|P_i - P_j|^2 / b)``, where
    ``b`` is `probability_width`. So utterances count as alike only if the network answers alike, too; features of one
    marginal distribution still differ if the answers that go with them do. With constant probabilities it is `mk_mmd`.

    The mini-batches are of n and m utterances; m may differ from n unless the estimator, see `squared_mmd`, is linear.
    The gradient goes into both layers. The `kernel` is that of the features.

    Examples
    --------
    >>> source, target = torch.tensor([[0.0], [1.0]]), torch.tensor([[2.0], [3.0]])
    >>> high, low = torch.tensor([[0.0, 1.0]] * 2), torch.tensor([[1.0, 0.0]] * 2)
    >>> print(f"{joint_mmd(Layers(source, high), Layers(target, high)).item():.6f}")
    0.915959
    >>> print(f"{joint_mmd(Layers(source, high), Layers(source, low)).item():.6f}")
    0.892122
    """
    check_positive("probability_width", probability_width)
    of_features, of_probabilities = map(joint_distances, source, target)
    if of_features.shape != of_probabilities.shape or len(source.features) != len(source.probabilities):
        raise ValueError(
            "features and probabilities must have a row for each utterance, got "
            f"{len(source.features)} and {len(source.probabilities)} of the source, "
            f"{len(target.features)} and {len(target.probabilities)} of the target"
        )
    fixed = of_probabilities.new_full((1,), probability_width)
    joint = heuristic_kernel(of_features, **kernel) * gaussian_kernel(of_probabilities, fixed)  # (n + m, n + m)
    return squared_mmd(joint, len(source.features), estimator=estimator)
