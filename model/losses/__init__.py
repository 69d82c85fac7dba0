"""Loss functions of Emo-DNA, each a pure function of a mini-batch.

Common to all of them: means by default instead of the paper's sums, so that the terms of the objective are on one
scale, and the other readings of the paper as keyword arguments; at least float32 inside, whatever autocast says; a
finite value and a finite gradient for any finite batch of ordinary magnitude, degenerate or not; static shapes and no
host synchronisation, so that a training step can be captured as a CUDA graph. The matrix products obey
``torch.set_float32_matmul_precision``: leave it at ``"highest"``, for a similarity is divided by a temperature of 0.01,
which turns the rounding of TF32 into errors of a tenth.
"""
