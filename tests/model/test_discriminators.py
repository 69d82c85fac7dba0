"""Discriminators of features and windows, and the window decoder."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from emodna.model.networks.discriminators import Discriminator, WindowDecoder, WindowDiscriminator
from tests.model.small import make_noise


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_decoder_learns_opposite_ramps_for_two_codes() -> None:
    ramp = torch.linspace(-1, 1, 24)
    codes, windows = torch.eye(2), torch.stack([ramp, -ramp]).unsqueeze(1)
    decoder = WindowDecoder(2, 1, 16)
    optimizer = torch.optim.Adam(decoder.parameters(), 0.01)
    for _ in range(100):
        optimizer.zero_grad()
        error = (decoder(codes, 24) - windows).square().mean()
        error.backward()
        optimizer.step()
    assert error.item() < 0.02


def test_window_discriminator_ignores_frames_far_beyond_the_length() -> None:
    discriminator, windows, lengths = WindowDiscriminator(6, 8), make_noise(2, 6, 64), torch.tensor([64, 16])
    changed = windows.clone()
    changed[:, :, 32:] += 1  # the second window has 2 steps of 8 frames, which do not see frame 32
    before, after = discriminator(windows, lengths), discriminator(changed, lengths)
    assert before[0] != after[0]
    assert before[1] == after[1]


class TestDiscriminator:
    @staticmethod
    def find_linear_layers(network: Discriminator) -> list[nn.Linear]:
        return [layer for layer in network.layers if isinstance(layer, nn.Linear)]

    def test_layers_are_two_blocks_with_batch_norm_and_a_linear_layer(self) -> None:
        network, x = Discriminator(5, 7), make_noise(12, 5)
        first, second, last = self.find_linear_layers(network)
        h = x
        for layer in (first, second):
            h = h @ layer.weight.T
            h = ((h - h.mean(0)) / (h.var(0, unbiased=False) + 1e-5).sqrt()).relu()
        expected = h @ last.weight.T + last.bias
        torch.testing.assert_close(network(x), expected[:, 0], rtol=1e-4, atol=1e-5)

    def test_half_of_the_hidden_units_are_dropped_without_batch_norm(self) -> None:
        network, x = Discriminator(5, 400, "none"), make_noise(12, 5)
        assert not [each for each in network.modules() if isinstance(each, nn.BatchNorm1d)]
        first, second, last = self.find_linear_layers(network)
        hidden = network.layers[:3](x)
        kept = hidden != 0
        torch.testing.assert_close(hidden[kept], 2 * F.relu(first(x))[kept])
        assert 0.4 < kept.sum() / (first(x) > 0).sum() < 0.6
        network.eval()
        torch.testing.assert_close(network(x), last(F.relu(second(F.relu(first(x)))))[:, 0])
