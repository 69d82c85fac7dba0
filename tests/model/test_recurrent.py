"""Attention pooling against loops, the recurrent encoder, and the network of CLSTM written out."""

import math

import pytest
import torch
import torch.nn.functional as F

from emodna.model.networks.recurrent import AttentionPooling, AttentiveEncoder, ConvLstm
from tests.model.small import make_noise
from tests.model.test_networks import apply_norm, randomise_norms

LENGTHS = torch.tensor([7, 3, 1])


def multiply(a: list[float], b: list[float]) -> float:
    """Return the dot product."""
    return sum(x * y for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_attention_pooling_equals_a_loop(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    layer, hidden = AttentionPooling(6, 4).to(dtype), 2 * make_noise(3, 7, 6).to(dtype)
    w, v = layer.project.weight.tolist(), layer.score.weight[0].tolist()
    for row, length, pooled in zip(hidden.tolist(), LENGTHS.tolist(), layer(hidden, LENGTHS), strict=True):
        scores = [multiply(v, [math.tanh(multiply(line, step)) for line in w]) for step in row[:length]]
        total = sum(map(math.exp, scores))
        weights = [math.exp(score) / total for score in scores]
        expected = [multiply(weights, [step[d] for step in row[:length]]) for d in range(6)]
        torch.testing.assert_close(pooled, torch.tensor(expected, dtype=dtype))


def test_attentive_encoder_pools_over_the_steps_of_the_length() -> None:
    encoder = AttentiveEncoder(3, channels=4, units=5, attention_units=2, dropout=0.0).eval()
    features = make_noise(3, 3, 64)
    hidden = encoder.lstm(encoder.backbone(features).transpose(1, 2))[0]
    z = encoder(features, torch.tensor([64, 39, 5]))
    torch.testing.assert_close(z, encoder.pooling(hidden, torch.tensor([8, 4, 1])))
    torch.testing.assert_close(z[2], hidden[2, 0])


@pytest.mark.parametrize("kernel", [3, 5])
def test_conv_lstm_equals_its_layers_written_out(kernel: int) -> None:
    torch.manual_seed(0)
    model = ConvLstm(6, classes=2, channels=8, kernel=kernel, units=7, dropout=0.3)
    randomise_norms(model)
    x, lengths = make_noise(3, 6, 42), [42, 21, 3]
    y = x
    layers = list(model.convolutions)
    assert len(layers) == 10
    for conv, norm in zip(layers[::5], layers[1::5], strict=True):
        y = F.max_pool1d(F.relu(apply_norm(F.conv1d(y, conv.weight, conv.bias, padding=kernel // 2), norm)), 2)
    assert y.shape == (3, 8, 10)
    expected = []
    for row, length in zip(y, lengths, strict=True):
        states, _ = model.lstm(row.T)
        expected.append(model.classifier(states[: max(length // 4, 1)].mean(0)))
    torch.testing.assert_close(model(x, torch.tensor(lengths)), torch.stack(expected))
