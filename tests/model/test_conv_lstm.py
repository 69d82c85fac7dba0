"""The network of CLSTM: what it computes, and what it sees of time."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from emodna.model.networks.recurrent import ConvLstm
from tests.model.test_networks import noise, normed, unlike_new


def network(kernel: int = 5) -> ConvLstm:
    torch.manual_seed(0)
    made = ConvLstm(6, classes=2, channels=8, kernel=kernel, units=7, dropout=0.3)
    unlike_new(made)
    return made


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_written_out(kernel: int) -> None:
    model, x, lengths = network(kernel), noise(3, 6, 42), [42, 21, 3]
    y = x
    layers = list(model.convolutions)
    assert len(layers) == 10
    for conv, norm in zip(layers[::5], layers[1::5], strict=True):
        y = F.max_pool1d(F.relu(normed(F.conv1d(y, conv.weight, conv.bias, padding=kernel // 2), norm)), 2)
    assert y.shape == (3, 8, 10)
    answers = []
    for row, length in zip(y, lengths, strict=True):
        states, _ = model.lstm(row.T)
        answers.append(model.classifier(states[: max(length // 4, 1)].mean(0)))
    torch.testing.assert_close(model(x, torch.tensor(lengths)), torch.stack(answers))


def test_a_constant_signal_is_constant_away_from_the_borders() -> None:
    model = network()
    hidden = model.convolutions(torch.full((2, 6, 64), 0.7))  # (2, 8, 16)
    # Two convolutions of kernel 5 with a pool behind each: zeros beyond a border reach 2 frames, then 2 pooled steps.
    inner = hidden[:, :, 2:-2]
    torch.testing.assert_close(inner, inner[:, :, :1].expand_as(inner))
    assert not torch.allclose(hidden[:, :, 0], inner[:, :, 0])


def test_the_lstm_reads_forward() -> None:
    model, x = network(), noise(2, 6, 64)
    disturbed = x.clone()
    disturbed[:, :, 40:] += 1
    before, after = (model.lstm(model.convolutions(each).transpose(1, 2))[0] for each in (x, disturbed))
    # The convolutions look ahead, by 2 frames and by 2 steps of the first pool: frames 38, steps 17, steps 8.
    assert torch.equal(before[:, :8], after[:, :8])
    assert not torch.equal(before[:, 8], after[:, 8])


@pytest.mark.parametrize("length", [8, 24, 40])
def test_what_lies_behind_the_length_is_not_looked_at(length: int) -> None:
    model, x = network(), noise(2, 6, 64)
    other = x.clone()
    other[:, :, length + 6 :] = 1e3  # beyond what the convolutions see at the last counted step
    lengths = torch.full((2,), length)
    torch.testing.assert_close(model(x, lengths), model(other, lengths))
    assert not torch.allclose(model(x, lengths), model(x, torch.full((2,), 64)))


def test_dropout_comes_between_lstm_and_classifier_and_nowhere_else() -> None:
    model, x, lengths = network().train(), noise(4, 6, 32), torch.full((4,), 32)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm1d):
            norm.eval()
    assert torch.equal(model.encode(x, lengths), model.encode(x, lengths))
    assert not torch.equal(model(x, lengths), model(x, lengths))
