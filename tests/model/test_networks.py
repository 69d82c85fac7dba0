"""Networks of Emo-DNA: receptive fields, shapes, and the order of layers."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from emodna.model.networks.emotion import Backbone, CorpusEncoder, EmotionEncoder, TemporalBlock, mean_over_time
from tests.model.small import make_noise

RECEPTIVE_FIELD = 1 + 2 * (1 + 2 + 4 + 8 + 16)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def randomise_norms(module: nn.Module) -> nn.Module:
    """Randomise statistics and weights of all batch norms, whose initial ones have no effect. Set evaluation mode."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm1d):
            for tensor in (norm.running_mean, norm.weight.data, norm.bias.data):
                nn.init.normal_(tensor)
            nn.init.uniform_(norm.running_var, 0.5, 2.0)
    return module.eval()


def apply_norm(x: Tensor, norm: nn.BatchNorm1d) -> Tensor:
    """Apply batch norm in evaluation mode, written out."""
    mean, variance, weight, bias = (v[:, None] for v in (norm.running_mean, norm.running_var, norm.weight, norm.bias))
    return (x - mean) / torch.sqrt(variance + norm.eps) * weight + bias


class TestShapes:
    @given(frames=st.integers(8, 300))
    def test_length_of_a_full_window_equals_its_number_of_steps(self, frames: int) -> None:
        backbone = Backbone(2, 2, 0.1).eval()
        steps = backbone(torch.zeros(1, 2, frames)).shape[2]
        assert backbone.pool_lengths(torch.tensor([frames])).item() == steps

    def test_shortest_utterances_keep_one_step(self) -> None:
        assert Backbone(2, 2, 0.1).pool_lengths(torch.tensor([1, 7, 8, 15, 16])).tolist() == [1, 1, 1, 1, 2]


class TestEmotionEncoder:
    @pytest.mark.parametrize("t", [0, 11, 22])
    def test_is_causal(self, t: int) -> None:
        encoder = randomise_norms(EmotionEncoder(8, kernel=2, blocks=5, dropout=0.1))
        x = make_noise(2, 8, 23)
        disturbed = x.clone()
        disturbed[:, :, t] += 10
        before, after = encoder(x), encoder(disturbed)
        assert torch.equal(before[:, :, :t], after[:, :, :t])
        assert not torch.equal(before[:, :, t], after[:, :, t])

    def test_last_step_sees_exactly_62_steps_back(self) -> None:
        encoder = EmotionEncoder(8, kernel=2, blocks=5, dropout=0.1).double().eval()
        # Positive weights and inputs keep every ReLU active.
        for parameter in encoder.parameters():
            parameter.data.abs_()
        x = make_noise(1, 8, 80).double().abs().requires_grad_()
        encoder(x)[:, :, -1].sum().backward()
        assert x.grad is not None
        by_lag = x.grad.abs().sum((0, 1)).flip(0)  # (80,), lag 0 first
        assert (by_lag[:RECEPTIVE_FIELD] > 0).all()
        assert (by_lag[RECEPTIVE_FIELD:] == 0).all()
        assert RECEPTIVE_FIELD == 63

    @pytest.mark.parametrize(("inputs", "outputs"), [(6, 6), (4, 6)])
    def test_block_adds_its_input_before_the_last_relu(self, inputs: int, outputs: int) -> None:
        block = randomise_norms(TemporalBlock(inputs, outputs, kernel=2, dilation=4, dropout=0.1))
        x = make_noise(2, inputs, 12)
        y = x
        for layer in block.convs:
            convolved = F.conv1d(F.pad(y, (4, 0)), layer.conv.weight, layer.conv.bias, dilation=4)
            y = F.relu(apply_norm(convolved, layer.norm))
        # A 1x1 convolution only where the channels differ.
        shortcut = x if inputs == outputs else F.conv1d(x, block.residual.weight, block.residual.bias)
        torch.testing.assert_close(block(x), F.relu(y + shortcut))


class TestBackbone:
    def test_backbone_is_three_blocks_of_convolution_norm_relu_pool(self) -> None:
        backbone = randomise_norms(Backbone(5, 6, 0.1))
        y = x = make_noise(2, 5, 40)
        layers = list(backbone)
        assert len(layers[::5]) == 3
        for conv, norm in zip(layers[::5], layers[1::5], strict=True):
            y = F.max_pool1d(F.relu(apply_norm(F.conv1d(y, conv.weight, conv.bias, padding=1), norm)), 2)
        torch.testing.assert_close(backbone(x), y)

    def test_dropout_comes_after_norm_and_relu_and_before_the_pool(self) -> None:
        backbone = Backbone(5, 6, 0.5, blocks=1)
        x = make_noise(8, 5, 40)
        y = backbone(x)
        convolved = F.conv1d(x, backbone[0].weight, backbone[0].bias, padding=1)
        activated = F.relu(F.batch_norm(convolved, None, None, training=True))
        first, second = 2 * activated[..., ::2], 2 * activated[..., 1::2]
        is_first, is_second = (torch.isclose(y, each, rtol=1e-5, atol=1e-6) for each in (first, second))
        assert (is_first | is_second | (y == 0)).all()
        # If the larger value of a pair is dropped, the smaller one remains. Dropout after the pool cannot cause that.
        smaller = torch.minimum(first, second)
        assert (torch.isclose(y, smaller, rtol=1e-5) & (smaller > 0) & (first != second)).any()


def compute_states(encoder: CorpusEncoder, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return states (batch, units, time) of a forward and a backward LSTM with the encoder's weights."""
    states = []
    for suffix, inputs in (("", x), ("_reverse", x.flip(2))):
        lstm = nn.LSTM(encoder.lstm.input_size, encoder.lstm.hidden_size, batch_first=True)
        for name, parameter in lstm.named_parameters():
            parameter.data.copy_(encoder.lstm.get_parameter(name + suffix))
        states.append(lstm(inputs.transpose(1, 2))[0].transpose(1, 2))
    return states[0], states[1].flip(2)


@pytest.mark.parametrize("lengths", [[9, 9, 9], [9, 4, 1]])
@pytest.mark.parametrize("pooling", ["mean", "last"])
@pytest.mark.parametrize(("directions", "units", "width"), [("sum", 6, 6), ("concat", 6, 12), ("concat-half", 3, 6)])
def test_corpus_encoder_joins_two_directions_and_pools(
    directions: Any, units: int, width: int, pooling: Any, lengths: list[int]
) -> None:
    encoder = CorpusEncoder(4, 6, directions=directions, pooling=pooling)
    assert encoder.lstm.hidden_size == units
    assert encoder.width == width
    x = make_noise(3, 4, 9)
    expected = []
    for forward, backward, length in zip(*compute_states(encoder, x), lengths, strict=True):
        if pooling == "last":
            pooled = forward[:, length - 1], backward[:, 0]
        else:
            pooled = forward[:, :length].mean(1), backward[:, :length].mean(1)
        expected.append(sum(pooled) if directions == "sum" else torch.cat(pooled))
    torch.testing.assert_close(encoder(x, torch.tensor(lengths)), torch.stack(expected))


def test_mean_over_time_equals_a_loop() -> None:
    x, lengths = make_noise(4, 3, 7), [1, 3, 6, 7]
    expected = torch.stack([row[:, :length].mean(1) for row, length in zip(x, lengths, strict=True)])
    torch.testing.assert_close(mean_over_time(x, torch.tensor(lengths)), expected)
