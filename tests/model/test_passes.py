"""Passes of two corpora through one network: batch norm statistics and random states."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from emodna.model.data.batch import Batch, LabelledBatch
from emodna.model.networks.emotion import EmotionNetwork
from emodna.model.networks.passes import evaluation_mode, pass_both
from tests.model.small import assert_same_tensors, make_batches

SEPARATE = pytest.mark.parametrize("mode", ["separate", "source"])


def network(dropout: float = 0.0) -> EmotionNetwork:
    torch.manual_seed(0)
    return EmotionNetwork(6, classes=2, channels=8, dropout=dropout, tcn_blocks=2, tcn_kernel=2).train()


def pass_pair(model: EmotionNetwork, source: LabelledBatch, target: Batch, mode: Any) -> tuple[Tensor, Tensor]:
    """Return logits of the source's rows and of the target's rows."""
    torch.manual_seed(1)
    (logits,) = pass_both(model, lambda features, lengths: (model(features, lengths),), source, target, mode)
    return logits[: len(source.labels)], logits[len(source.labels) :]


def pass_batch(model: EmotionNetwork, batch: Batch) -> Tensor:
    """Return logits of one batch."""
    torch.manual_seed(1)
    logits: Tensor = model(batch.features, batch.lengths)
    return logits


def test_concat_passes_both_corpora_as_one_batch() -> None:
    source, target = make_batches(8, 5)
    joint = dataclasses.replace(
        target,
        features=torch.cat([source.features, target.features]),
        lengths=torch.cat([source.lengths, target.lengths]),
    )
    mine, other = network(0.5), network(0.5)
    assert torch.equal(torch.cat(pass_pair(mine, source, target, "concat")), pass_batch(other, joint))
    assert_same_tensors(mine.state_dict(), other.state_dict())


class TestSeparate:
    @SEPARATE
    def test_each_corpus_has_its_own_statistics(self, mode: str) -> None:
        source, target = make_batches(8, 5)
        of_source, of_target = pass_pair(network(), source, target, mode)
        torch.testing.assert_close(of_source, pass_batch(network(), source))
        torch.testing.assert_close(of_target, pass_batch(network(), target))

    @SEPARATE
    def test_target_dropout_is_independent_and_changes_in_each_step(self, mode: str) -> None:
        source, _ = make_batches()
        model = network(0.5)
        draws = [*pass_pair(model, source, source, mode)]
        torch.rand(1)  # moves the global state, as a step does
        (again,) = pass_both(model, lambda x, lengths: (model(x, lengths),), source, source, mode)
        draws += [*again.chunk(2)]
        assert all(not torch.equal(a, b) for i, a in enumerate(draws) for b in draws[:i])

    def test_running_statistics_mix_both_corpora(self) -> None:
        source, target = make_batches()
        mine, other = network(), network()
        pass_pair(mine, source, target, "separate")
        pass_batch(other, source)
        pass_batch(other, target)
        assert_same_tensors(mine.state_dict(), other.state_dict())

    def test_source_mode_keeps_the_source_statistics(self) -> None:
        source, target = make_batches()
        mine, other = network(), network()
        pass_pair(mine, source, target, "source")
        pass_batch(other, source)
        assert_same_tensors(mine.state_dict(), other.state_dict())
        # The next pass updates them again.
        pass_pair(mine, source, target, "separate")
        assert not torch.equal(mine.backbone[1].running_mean, other.backbone[1].running_mean)


def test_evaluation_mode_restores_the_network() -> None:
    source, target = make_batches()
    model = network(0.5)
    pass_batch(model, source)
    model.classifier.eval()  # must stay in evaluation mode
    modes = [layer.training for layer in model.modules()]
    before, random = {name: t.clone() for name, t in model.state_dict().items()}, torch.get_rng_state()
    with evaluation_mode(model):
        logits = model(target.features, target.lengths)
    assert not logits.requires_grad
    assert torch.is_grad_enabled()
    assert [layer.training for layer in model.modules()] == modes
    assert_same_tensors(model.state_dict(), before)
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(logits, model.eval()(target.features, target.lengths))
