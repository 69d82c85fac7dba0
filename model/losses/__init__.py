"""Loss functions of Emo-DNA, each a pure function of a mini-batch.

Common to all of them: means by default instead of the paper's sums, so that the terms of the objective are on one
scale, and the other readings of the paper as keyword arguments; at least float32 inside, whatever autocast says; a
finite value and a finite gradient for any finite batch of ordinary magnitude, degenerate or not; static shapes and no
host synchronisation, so that a training step can be captured as a CUDA graph. The matrix products obey
``torch.set_float32_matmul_precision``: leave it at ``"highest"``, for a similarity is divided by a temperature of 0.01,
which turns the rounding of TF32 into errors of a tenth.
"""

from emodna.model.losses.contrastive import supervised_contrastive
from emodna.model.losses.joint_mmd import joint_mmd
from emodna.model.losses.kernels import gaussian_kernel, heuristic_widths, squared_distances
from emodna.model.losses.mmd import mk_mmd, squared_mmd
from emodna.model.losses.prototypes import decoupling_loss, prototype

__all__ = [
    "decoupling_loss",
    "gaussian_kernel",
    "heuristic_widths",
    "joint_mmd",
    "mk_mmd",
    "prototype",
    "squared_distances",
    "squared_mmd",
    "supervised_contrastive",
]
