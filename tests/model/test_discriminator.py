"""The discriminator: its layers, in both of its kinds."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emodna.model.networks.discriminators import Discriminator


def rows(n: int, d: int) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def linear(network: Discriminator) -> list[nn.Linear]:
    return [layer for layer in network.layers if isinstance(layer, nn.Linear)]


def test_is_linear_batch_norm_relu_twice_and_linear() -> None:
    network, x = Discriminator(5, 7), rows(12, 5)
    first, second, last = linear(network)
    h = x
    for layer in (first, second):
        h = h @ layer.weight.T
        h = ((h - h.mean(0)) / (h.var(0, unbiased=False) + 1e-5).sqrt()).relu()
    expected = h @ last.weight.T + last.bias
    assert expected.shape == (12, 1)
    torch.testing.assert_close(network(x), expected[:, 0], rtol=1e-4, atol=1e-5)


def test_without_batch_norm_drops_half_of_what_is_hidden() -> None:
    network, x = Discriminator(5, 400, "none"), rows(12, 5)
    assert not [each for each in network.modules() if isinstance(each, nn.BatchNorm1d)]
    first, second, last = linear(network)
    hidden = network.layers[:3](x)
    kept = hidden != 0
    torch.testing.assert_close(hidden[kept], 2 * F.relu(first(x))[kept])
    assert 0.4 < kept.sum() / (first(x) > 0).sum() < 0.6
    network.eval()
    torch.testing.assert_close(network(x), last(F.relu(second(F.relu(first(x)))))[:, 0])


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_knows_more_than_where_the_mean_is(norm: str) -> None:
    # Two domains of one mean, of which one is spread wider: the last layer alone could not tell them apart.
    x = rows(64, 4) * torch.tensor([0.3] * 32 + [3.0] * 32)[:, None]
    network = Discriminator(4, 32, norm)  # type: ignore[arg-type]
    labels = torch.tensor([1.0] * 32 + [0.0] * 32)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(network(x), labels).backward()
        optimizer.step()
    assert ((network(x) > 0) == (labels > 0)).float().mean() > 0.85
