"""Source Only: the target is never seen, not even by batch norm."""

import dataclasses

import torch
import torch.nn.functional as F

from emodna.model.methods.source_only import SourceOnly
from tests.model.methods.test_every_method import gradients, losses, small
from tests.model.small import assert_same_tensors, batches


def test_loss_is_the_mean_cross_entropy_of_the_source() -> None:
    model = small(SourceOnly, dropout=0.0)
    source, target = batches()
    probabilities = model.predict(source.features, source.lengths).softmax(1)
    expected = -torch.stack([p[label].log() for p, label in zip(probabilities, source.labels, strict=True)]).mean()
    terms = losses(model, (source, target))
    assert list(terms) == ["emotion"]
    torch.testing.assert_close(terms["emotion"], expected)


def test_target_without_a_number_in_it_changes_nothing() -> None:
    source, target = batches()
    nothing = dataclasses.replace(target, features=torch.full_like(target.features, torch.nan))
    results = []
    for each in (target, nothing):
        model = small(SourceOnly)
        terms = losses(model, (source, each))
        results.append({**terms, **gradients(model, terms), **model.state_dict(prefix="state.")})
    assert_same_tensors(*results)


def test_batch_norm_holds_statistics_of_the_source_alone() -> None:
    model = small(SourceOnly)
    source, target = batches()
    losses(model, (source, target))
    first = model.network.backbone[1]
    convolved = F.conv1d(source.features, model.network.backbone[0].weight, model.network.backbone[0].bias, padding=1)
    torch.testing.assert_close(first.running_mean, 0.1 * convolved.mean((0, 2)))
