"""Capsule encoder: shapes of the authors' network, and values of a plain implementation."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from emodna.model.networks.capsules import MIN_SIZE, CapsuleEncoder, FrozenBatchNorm2d, RoutedCapsules, squash
from emodna.model.networks.layers import convolve_and_pool
from tests.model.plain_capsules import PlainCapsules
from tests.model.small import make_noise


def encoder(channels: int = 64, dropout: float = 0.25, **changed: Any) -> CapsuleEncoder:
    torch.manual_seed(0)
    return CapsuleEncoder(channels, **{"primary_maps": 6, "capsules": 6, "routings": 3, "dropout": dropout, **changed})


def find_shapes(dim: int, frames: int) -> list[tuple[int, ...]]:
    """Return the output shapes of every part of the encoder for one utterance."""
    shapes: list[tuple[int, ...]] = []
    network = encoder()
    for part in [*network.blocks, network.primary, network.routed]:
        part.register_forward_hook(lambda _part, _inputs, output: shapes.append(tuple(output.shape[1:])))
    code = network(make_noise(1, dim, frames))
    return [*shapes, tuple(code.shape[1:])]


class TestShapes:
    def test_shapes_equal_those_of_the_authors_network(self) -> None:
        assert find_shapes(39, 188) == [(64, 93, 18), (64, 45, 8), (64, 21, 3), (114, 64), (6, 64), (64,)]

    def test_smallest_input_gives_one_position_of_capsules(self) -> None:
        assert find_shapes(MIN_SIZE, MIN_SIZE)[3] == (6, 64)
        for dim, frames in ((MIN_SIZE - 1, MIN_SIZE), (MIN_SIZE, MIN_SIZE - 1)):
            with pytest.raises(RuntimeError):
                find_shapes(dim, frames)


class TestPlainNetwork:
    @pytest.mark.parametrize(("dim", "frames"), [(40, 60), (39, 61)])
    @pytest.mark.parametrize("routings", [1, 3])
    def test_values_and_gradients_equal_the_plain_network(self, dim: int, frames: int, routings: int) -> None:
        mine, plain = encoder(8, dropout=0.0, routings=routings), PlainCapsules(8, dropout=0.0, routings=routings)
        for norm in mine.modules():  # the initial statistics have almost no effect
            if isinstance(norm, FrozenBatchNorm2d):
                tensors = norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var
                for number, tensor in enumerate(tensors):
                    tensor.copy_(make_noise(8, seed=number).abs() + 0.5)
        plain.load_state_dict(mine.state_dict())
        inputs = 30 * make_noise(4, dim, frames)
        mine, plain, inputs = mine.double(), plain.double(), inputs.double()
        outputs = mine(inputs), plain(inputs)
        torch.testing.assert_close(*outputs)
        for output in outputs:
            output.backward(make_noise(4, 8, seed=1).double())
        for (name, parameter), other in zip(mine.named_parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(parameter.grad, other.grad, msg=name)


def test_frozen_batch_norm_is_an_affine_map_in_training() -> None:
    norm = FrozenBatchNorm2d(3, eps=1e-3).train()
    norm.weight.data.copy_(torch.tensor([1.0, 2, 3]))
    norm.bias.data.copy_(torch.tensor([0.0, 1, 2]))
    x = make_noise(4, 3, 5, 6)
    expected = x * (norm.weight / 1.001**0.5)[:, None, None] + norm.bias[:, None, None]
    torch.testing.assert_close(norm(x), expected)
    assert not norm.training
    assert norm.running_mean.tolist() == [0, 0, 0]
    assert norm.running_var.tolist() == [1, 1, 1]


class TestPooledConvolution:
    @pytest.mark.parametrize(("h", "w"), [(4, 4), (9, 12), (90, 80)])
    @pytest.mark.parametrize("inputs", [1, 3])
    def test_equals_convolution_elu_and_mean_pooling(self, inputs: int, h: int, w: int) -> None:
        x, weight, bias = make_noise(3, inputs, h, w), make_noise(5, inputs, 3, 3, seed=1), make_noise(5, seed=2)
        parameters = [[each.clone().requires_grad_() for each in (weight, bias)] for _ in range(2)]
        outputs = convolve_and_pool(x, *parameters[0]), F.avg_pool2d(F.elu(F.conv2d(x, *parameters[1])), 2)
        torch.testing.assert_close(*outputs)
        for output in outputs:
            output.backward(make_noise(*output.shape, seed=3))
        for mine, other in zip(*parameters, strict=True):
            torch.testing.assert_close(mine.grad, other.grad, rtol=1e-4, atol=1e-5)


class TestSquash:
    @pytest.mark.parametrize(("length", "squashed"), [(0.0, 0.0), (0.1, 0.01 / 1.01), (1.0, 0.5), (3.0, 0.9)])
    def test_golden_lengths(self, length: float, squashed: float) -> None:
        x = length * F.normalize(make_noise(4, 5), dim=1).double()
        torch.testing.assert_close(squash(x), F.normalize(x, dim=1) * squashed, rtol=1e-4, atol=0)

    def test_zero_vector_has_a_zero_gradient(self) -> None:
        x = torch.zeros(2, 3, requires_grad=True)
        squash(x).sum().backward()
        assert x.grad is not None
        assert x.grad.tolist() == [[0, 0, 0], [0, 0, 0]]


def test_routing_of_zeros_has_finite_gradients() -> None:
    layer = RoutedCapsules(3, 2, 2, iterations=3)
    nn.init.normal_(layer.weight)
    x = torch.zeros(2, 4, 3, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
