"""lambda by the share of the training that is behind, or by steps: golden values."""

import pytest
import torch

from emodna.model.methods.adversarial import ReversalConfig, reversal_weight


@pytest.mark.parametrize(
    ("step", "weight"), [(100, 0.04996), (500, 0.24492), (1000, 0.46212), (2000, 0.76159), (5000, 0.98661)]
)
def test_by_steps_it_does_not_depend_on_their_number(step: int, weight: float) -> None:
    for progress in (0.1, 1.0):
        config = ReversalConfig(reversal_schedule="steps")
        found = reversal_weight(config, torch.tensor(progress), torch.tensor(step))
        assert found.item() == pytest.approx(weight, abs=1e-5)


@pytest.mark.parametrize("ceiling", [1.0, 0.1, 0.0])
def test_by_share_it_grows_to_its_ceiling(ceiling: float) -> None:
    found = reversal_weight(ReversalConfig(reversal_ceiling=ceiling), torch.tensor(0.5), torch.tensor(7))
    assert found.item() == pytest.approx(0.98661 * ceiling, abs=1e-5)
