"""Linear support vector machine on the statistics of each utterance, the usual baseline without adaptation."""

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emodna.model.config import Positive
from emodna.model.data.batch import LabelledBatch
from emodna.model.methods.base import DirectMethod

_LOG: Final = logging.getLogger(__name__)

#: Most iterations of the solver. Standardised features need a few dozen.
_MAX_ITERATIONS: Final = 1000


@dataclass(frozen=True)
class SvmConfig:
    """Settings of the support vector machine."""

    C: Positive = 0.5
    """Weight of the loss against |w|^2 / 2, for one value of an utterance: that of LinearSVC is C / dim."""


class Svm(DirectMethod):
    """Linear SVM on mean and standard deviation over the frames of an utterance, fitted to the source only.

    It minimises |w|^2 / 2 + C / dim sum_i v_i max(0, 1 - y_i (w x_i + b))^2 over all labelled source utterances, with
    y_i = 1 for class 1 and -1 for class 0, by scikit-learn's LinearSVC (liblinear, in the primal, without random
    numbers). |w| includes b. The weights v_i have the mean 1, and give each source, and with `class_weights=balanced`
    each class of it, the same total. The number of values `dim` makes one C fit all features, as their inner products
    grow with it. With more than two classes there is such a problem for each class against the rest.

    The logits are the decisions w x + b; of two classes, 0 and the decision. So probabilities are not calibrated: only
    the predicted class and the order of utterances have a meaning.
    """

    name = "svm"
    summary = "linear SVM on the statistics of each utterance, fitted to the source only"
    reference = "no adaptation (LinearSVC of scikit-learn, Pedregosa et al. 2011, JMLR 12)"
    defaults = SvmConfig()
    min_frames = 1
    config: SvmConfig

    def __init__(self, dim: int, config: SvmConfig, seed: int, classes: int = 2) -> None:  # noqa: ARG002
        super().__init__()  # no seed: the solution is unique
        self.config = config
        self.classifier = nn.Linear(dim, classes)

    @classmethod
    def reads_statistics(cls, config: Any) -> bool:  # noqa: ARG003
        """Return True: the method always reads statistics over an utterance."""
        return True

    def fit(self, source: LabelledBatch, weights: NDArray[np.float64]) -> Mapping[str, float]:
        """Solve the problem of each class, with v_i in `weights` (batch,); return the terms of their total."""
        from sklearn.exceptions import ConvergenceWarning  # takes a second to load
        from sklearn.svm import LinearSVC

        inputs = source.features.flatten(1).cpu().numpy().astype(np.float64)
        labels = source.labels.cpu().numpy()
        cost = self.config.C / inputs.shape[1]
        machine = LinearSVC(C=cost, dual=False, tol=1e-4, max_iter=_MAX_ITERATIONS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            machine.fit(inputs, labels, sample_weight=weights)
        if machine.n_iter_ >= _MAX_ITERATIONS:
            text = "%s: the solver stopped after %d iterations, before it converged; the features may not be normalised"
            _LOG.warning(text, self.name, _MAX_ITERATIONS)
        count, coefficients, biases = len(self.classifier.bias), machine.coef_, machine.intercept_
        problems = np.arange(1 if count == 2 else 0, count)  # of two classes, that of class 1
        with torch.no_grad():
            for parameter, values in ((self.classifier.weight, coefficients), (self.classifier.bias, biases)):
                parameter.zero_()
                parameter[problems[0] :] = torch.from_numpy(values)
        signs = np.where(labels[:, None] == problems, 1, -1)  # (batch, problems)
        slack = np.maximum(1 - signs * (inputs @ coefficients.T + biases), 0)
        hinge = float(cost * (weights[:, None] * slack**2).sum())
        norm = float((np.vdot(coefficients, coefficients) + np.vdot(biases, biases)) / 2)
        return {"hinge": hinge, "norm": norm, "total": hinge + norm}

    def predict(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Return the logits (batch, classes) of statistics (batch, dim, 1): see the class."""
        logits: Tensor = self.classifier(self.embed(features, lengths))
        return logits

    def embed(self, features: Tensor, lengths: Tensor) -> Tensor:  # noqa: ARG002
        """Return the statistics (batch, dim) themselves, which the classifier reads."""
        return features.flatten(1)
