"""Fast layers against torch's layers: values, gradients, statistics, parameter names and exported graphs."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from emodna.model.networks.emotion import Backbone
from emodna.model.networks.layers import BatchNorm1d, Conv1d, Dropout, MaxPool1d, pad_past
from tests.model.small import make_noise

Layout = Callable[[Tensor], Tensor]
LAYOUTS: dict[str, Layout] = {
    "channels first": lambda x: x.contiguous(),
    "channels last": lambda x: x.transpose(1, 2).contiguous().transpose(1, 2),
    "time first": lambda x: x.permute(2, 0, 1).contiguous().permute(1, 2, 0),
    "every other": lambda x: torch.stack([x, -x], 3)[..., 0],
}
each_layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)


def is_channels_last(x: Tensor) -> bool:
    return x.transpose(1, 2).is_contiguous()


def assert_same_layer(mine: nn.Module, plain: nn.Module, x: Tensor, layout: Layout) -> None:
    """Assert the same output, gradients of input and parameters, and buffers."""
    plain.load_state_dict(mine.state_dict())
    inputs = [layout(x).detach().requires_grad_(), x.clone().requires_grad_()]
    outputs = [layer(each) for layer, each in zip((mine, plain), inputs, strict=True)]
    torch.testing.assert_close(*outputs)
    assert is_channels_last(outputs[0])
    gradient = make_noise(*outputs[0].shape, seed=1)
    for output in outputs:
        output.backward(gradient)
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad)
    for (name, parameter), other in zip(mine.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-4, atol=1e-4, msg=name)
    for (name, buffer), other in zip(mine.named_buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(buffer, other, msg=name)


@each_layout
@pytest.mark.parametrize("settings", [{"kernel_size": 3, "padding": 1}, {"kernel_size": 2, "dilation": 4}])
def test_convolution_equals_torch(settings: dict[str, int], layout: Layout) -> None:
    assert_same_layer(Conv1d(5, 7, **settings), nn.Conv1d(5, 7, **settings), make_noise(3, 5, 12), layout)


@each_layout
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_and_its_statistics_equal_torch(training: bool, layout: Layout) -> None:
    mine, plain = BatchNorm1d(5), nn.BatchNorm1d(5)
    for parameter in mine.parameters():
        nn.init.normal_(parameter)
    mine(3 * make_noise(4, 5, 6, seed=2) + 1)  # changes the initial statistics
    assert_same_layer(mine.train(training), plain.train(training), make_noise(4, 5, 8), layout)
    assert mine.num_batches_tracked == 1 + training


class TestPool:
    @each_layout
    @pytest.mark.parametrize("time", [2, 7])
    def test_pool_equals_torch(self, time: int, layout: Layout) -> None:
        assert_same_layer(MaxPool1d(2), nn.MaxPool1d(2), make_noise(3, 5, time), layout)

    def test_first_of_two_equal_steps_gets_the_gradient(self) -> None:
        x = torch.tensor([[[1.0, 1.0, 0.0, 0.0, 5.0]]])
        assert_same_layer(MaxPool1d(2), nn.MaxPool1d(2), x, LAYOUTS["channels last"])


class TestDropout:
    @given(p=st.floats(0.001, 0.999), seed=st.integers(0, 99))
    def test_dropout_drops_its_share_and_keeps_the_mean(self, p: float, seed: int) -> None:
        torch.manual_seed(seed)
        y = Dropout(p)(torch.ones(50, 16, 50))
        dropped = (y == 0).float().mean().item()
        assert dropped == pytest.approx(p, abs=5 * (p * (1 - p) / y.numel()) ** 0.5 + 2**-16)
        torch.testing.assert_close(y[y != 0], torch.full_like(y[y != 0], 1 / (1 - p)), rtol=0.02, atol=0)

    def test_neighbours_are_independent(self) -> None:
        torch.manual_seed(0)
        kept = (Dropout(0.5)(torch.ones(64, 16, 64)) != 0).float() - 0.5
        for lag in range(1, 9):  # elements of one 64-bit draw are adjacent
            for axis in (1, 2):
                assert (kept * kept.roll(lag, axis)).mean().abs() < 0.01

    def test_dropout_equals_torch_except_for_the_draws(self) -> None:
        x = make_noise(6, 5, 7).requires_grad_()
        y = Dropout(0.4)(x)
        kept = y != 0
        torch.testing.assert_close(y[kept], x[kept] / 0.6, rtol=1e-4, atol=0)
        y.sum().backward()
        torch.testing.assert_close(x.grad, kept / 0.6, rtol=1e-4, atol=0)

    @pytest.mark.parametrize("p", [0.0, 1e-9, 1 - 1e-9, 1.0])
    def test_extreme_probabilities_are_finite(self, p: float) -> None:
        y = Dropout(p)(torch.ones(2, 3, 4))
        assert y.isfinite().all()
        assert torch.equal(y != 0, torch.full_like(y, p < 0.5).bool())


def test_pad_past_pads_zeros_at_the_start() -> None:
    for layout in LAYOUTS.values():
        assert torch.equal(pad_past(layout(make_noise(2, 3, 5)), 4), F.pad(make_noise(2, 3, 5), (4, 0)))


def test_exported_graphs_contain_torch_layers() -> None:
    backbone, x = Backbone(5, 6, 0.1).eval(), make_noise(2, 5, 32)
    program = torch.export.export(backbone, (x,))
    called = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert [sum(name in each for each in called) for name in ("conv1d", "conv2d", "max_pool1d")] == [3, 0, 3]
    torch.testing.assert_close(program.module()(x), backbone(x))
