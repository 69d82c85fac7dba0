"""Joint maximum mean discrepancy (JMMD) of features and class probabilities.

.. [1] M. Long et al., "Deep transfer learning with joint adaptation networks", ICML 2017, arXiv 1605.06636.
"""

from typing import NamedTuple, Unpack

from torch import Tensor

from emodna.model.losses import check_positive, check_shapes
from emodna.model.losses.kernels import KernelOptions, gaussian_kernel, heuristic_kernel, joint_distances
from emodna.model.losses.mmd import Estimator, squared_mmd

PROBABILITY_WIDTH = 1.6928
"""Kernel width of class probabilities in the authors' code, 2 * 0.92^2. Their squared distances are at most 2."""


class LayerOutputs(NamedTuple):
    """Features ``(n, d)`` and class probabilities ``(n, c)`` of the utterances of one corpus."""

    features: Tensor
    probabilities: Tensor


def joint_mmd(
    source: LayerOutputs,
    target: LayerOutputs,
    *,
    probability_width: float = PROBABILITY_WIDTH,
    estimator: Estimator = "biased",
    **kernel: Unpack[KernelOptions],
) -> Tensor:
    """Return the squared MMD of the joint distributions of features and class probabilities [1]_, a scalar.

    The kernel of two utterances is the product ``k_E(E_i, E_j) k_P(P_i, P_j)``: the Gaussians of `mk_mmd` on features
    times ``exp(-|P_i - P_j|^2 / b)`` on probabilities, with ``b`` from `probability_width`. Two utterances are similar
    only if features and predictions are. With constant probabilities the result equals `mk_mmd`.

    The corpora may have different numbers of utterances unless the estimator is linear (see `squared_mmd`). Features
    and probabilities get a gradient. `kernel` holds the options of the feature kernel.

    Examples
    --------
    >>> source, target = torch.tensor([[0.0], [1.0]]), torch.tensor([[2.0], [3.0]])
    >>> high, low = torch.tensor([[0.0, 1.0]] * 2), torch.tensor([[1.0, 0.0]] * 2)
    >>> print(f"{joint_mmd(LayerOutputs(source, high), LayerOutputs(target, high)).item():.6f}")
    0.915959
    >>> print(f"{joint_mmd(LayerOutputs(source, high), LayerOutputs(source, low)).item():.6f}")
    0.892122
    """
    check_positive("probability_width", probability_width)
    of_features, of_probabilities = map(joint_distances, source, target)
    is_valid = of_features.shape == of_probabilities.shape and len(source.features) == len(source.probabilities)
    check_shapes(is_valid, "features and probabilities must have the same number of rows", *source, *target)
    width = of_probabilities.new_full((1,), probability_width)
    joint = heuristic_kernel(of_features, **kernel) * gaussian_kernel(of_probabilities, width)  # (n + m, n + m)
    return squared_mmd(joint, len(source.features), estimator=estimator)
