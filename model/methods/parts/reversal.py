"""How strongly a gradient is reversed, for all methods that train one part against another in one step."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from emodna.model.config import Weight
from emodna.model.losses.reversal import ganin_weight

#: Steps after which a schedule in absolute steps is where one in shares is after the whole training.
_STEPS = 10_000


@dataclass(frozen=True)
class ReversalConfig:
    """Of lambda."""

    reversal_ceiling: Weight = 1.0
    """What lambda grows to."""
    reversal_schedule: Literal["share", "steps"] = "share"
    """Whether it grows with the share of the training that is behind, or as if there were 10 000 steps."""


def reversal_weight(config: ReversalConfig, progress: Tensor, step: Tensor) -> Tensor:
    """lambda, 0-d, of a step from 0 and of the share of the training that is behind it."""
    behind = progress if config.reversal_schedule == "share" else step / _STEPS
    return config.reversal_ceiling * ganin_weight(behind)
