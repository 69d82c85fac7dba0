"""Attention pooling against loops, and the recurrent encoder around it."""

import math

import pytest
import torch
from torch import Tensor, nn

from emodna.model.networks.recurrent import AttentionPooling, AttentiveEncoder

LENGTHS = torch.tensor([7, 3, 1])


def pooling(dtype: torch.dtype = torch.float32) -> AttentionPooling:
    torch.manual_seed(0)
    return AttentionPooling(6, 4).to(dtype)


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


class TestAttentionPooling:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_is_the_loop(self, dtype: torch.dtype) -> None:
        layer, hidden = pooling(dtype), 2 * noise(3, 7, 6).to(dtype)
        w, v = layer.project.weight.tolist(), layer.score.weight[0].tolist()
        for row, length, found in zip(hidden.tolist(), LENGTHS.tolist(), layer(hidden, LENGTHS), strict=True):
            scores = [
                sum(
                    a * math.tanh(sum(x * y for x, y in zip(line, step, strict=True)))
                    for a, line in zip(v, w, strict=True)
                )
                for step in row[:length]
            ]
            total = sum(math.exp(score) for score in scores)
            expected = [
                sum(math.exp(score) / total * step[d] for score, step in zip(scores, row, strict=False))
                for d in range(6)
            ]
            torch.testing.assert_close(found, torch.tensor(expected, dtype=dtype))

    def test_what_lies_behind_the_length_changes_no_bit(self) -> None:
        layer, hidden = pooling(), noise(3, 7, 6)
        other = hidden.clone()
        for row, length in enumerate(LENGTHS.tolist()):
            other[row, length:] = 1e4
        assert torch.equal(layer(hidden, LENGTHS), layer(other, LENGTHS))
        assert not torch.equal(layer(hidden, LENGTHS), layer(hidden, torch.full((3,), 7)))

    def test_of_steps_that_are_alike_is_their_mean(self) -> None:
        step = noise(3, 1, 6)
        torch.testing.assert_close(pooling()(step.expand(3, 7, 6), LENGTHS), step.squeeze(1))

    def test_weighs_a_step_of_high_score_alone(self) -> None:
        layer = AttentionPooling(1, 1)
        nn.init.ones_(layer.project.weight)
        nn.init.constant_(layer.score.weight, 200.0)
        found = layer(torch.tensor([[[0.1], [2.0], [-1.0]]]), torch.tensor([3]))
        torch.testing.assert_close(found, torch.tensor([[2.0]]))


class TestAttentiveEncoder:
    def test_has_the_sizes_of_our_reading(self) -> None:
        encoder = AttentiveEncoder(40, channels=64, units=64, attention_units=64, dropout=0.1)
        assert encoder.backbone(noise(2, 40, 188)).shape == (2, 64, 23)
        assert encoder(noise(2, 40, 188), torch.tensor([188, 90])).shape == (2, 128) == (2, encoder.width)

    def test_reads_the_utterance_in_both_directions(self) -> None:
        encoder = AttentiveEncoder(3, channels=4, units=5, attention_units=2, dropout=0.0).eval()
        hidden = encoder.backbone(noise(1, 3, 64)).transpose(1, 2)  # (1, 8, 4)
        disturbed = hidden.clone()
        disturbed[:, 4] += 1
        moved = (encoder.lstm(hidden)[0] != encoder.lstm(disturbed)[0])[0]  # (8, 10)
        assert moved[:, :5].any(1).tolist() == [step >= 4 for step in range(8)]
        assert moved[:, 5:].any(1).tolist() == [step <= 4 for step in range(8)]

    def test_pools_over_as_many_steps_as_the_backbone_leaves_of_the_length(self) -> None:
        encoder = AttentiveEncoder(3, channels=4, units=5, attention_units=2, dropout=0.0).eval()
        features = noise(3, 3, 64)
        hidden = encoder.lstm(encoder.backbone(features).transpose(1, 2))[0]
        found = encoder(features, torch.tensor([64, 39, 5]))
        torch.testing.assert_close(found, encoder.pooling(hidden, torch.tensor([8, 4, 1])))
        torch.testing.assert_close(found[2], hidden[2, 0])
