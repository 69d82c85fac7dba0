"""Source Only: loss, and the target's influence on batch norm."""

from pathlib import Path

import torch
import torch.nn.functional as F

from emodna.model.checkpoint import load_tensors
from emodna.model.methods.source_only import SourceOnly
from tests.model.methods.test_every_method import losses, small
from tests.model.small import Stores, assert_same_tensors, fit_small, make_batches


def test_loss_equals_the_mean_cross_entropy_of_the_source() -> None:
    model = small(SourceOnly, dropout=0.0)
    source, target = make_batches()
    probabilities = model.predict(source.features, source.lengths).softmax(1)
    expected = -torch.stack([p[label].log() for p, label in zip(probabilities, source.labels, strict=True)]).mean()
    terms = losses(model, (source, target))
    assert list(terms) == ["emotion"]
    torch.testing.assert_close(terms["emotion"], expected)


def test_batch_norm_holds_source_statistics_only() -> None:
    model = small(SourceOnly)
    source, target = make_batches()
    losses(model, (source, target))
    first = model.network.backbone[1]
    convolved = F.conv1d(source.features, model.network.backbone[0].weight, model.network.backbone[0].bias, padding=1)
    torch.testing.assert_close(first.running_mean, 0.1 * convolved.mean((0, 2)))


class TestTargetBatchNorm:
    """Source Only with the target's running statistics."""

    def test_running_statistics_are_those_of_the_target(self) -> None:
        model = small(SourceOnly, target_bn=True, dropout=0.0)
        source, target = make_batches(8, 5)
        losses(model, (source, target))
        # The same statistics as after a pass of the target only.
        other = small(SourceOnly, dropout=0.0)
        other.network(target.features, target.lengths)
        assert_same_tensors(model.state_dict(), other.state_dict())

        assert "target_bn=false" in str(model.graph_obstacle)

    def test_weights_equal_source_only(self, pair: Stores, tmp_path: Path) -> None:
        for target_bn in ("false", "true"):
            settings = {"target_bn": target_bn, "dropout": "0.5"}
            fit_small(*pair, tmp_path / target_bn, method="source-only", settings=settings)
        plain, moved = (load_tensors(tmp_path / each / "model.safetensors")[0] for each in ("false", "true"))
        differing = {name for name in plain if not torch.equal(plain[name], moved[name])}
        assert differing == {name for name in plain if name.endswith(("running_mean", "running_var"))}
