"""The training loop: batches, objective, log, and losses that are not finite."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emodna.model import checkpoint
from emodna.model.config import TrainConfig
from emodna.model.data.batch import Batch, LabelledBatch
from emodna.model.data.normalisation import Statistics
from emodna.model.data.stream import CorpusWindows, SourceStream, TargetStream
from emodna.model.data.windows import Framer
from emodna.model.errors import TrainingError
from emodna.model.methods.base import Method
from emodna.model.run_folder import RunFolder
from emodna.model.training.loop import train
from emodna.pipeline.features import MfccSet
from emodna.pipeline.store import FeatureStore
from tests.model.small import SilentCallback, expect_run_error, read_log

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Failure:
    """A value that a term has at a step."""

    step: int
    value: float = math.nan


class Linear(Method):
    """A linear classifier with two terms that records its batches."""

    name = "linear"
    reference = "this test"
    defaults = None

    def __init__(self, failure: Failure | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(40, 2)
        self.failure = failure
        self.given: list[tuple[LabelledBatch, Batch, int]] = []

    def losses(self, source: LabelledBatch, target: Batch, step: Tensor) -> dict[str, Tensor]:
        assert self.training
        assert step.shape == ()
        assert step.dtype == torch.int64
        self.given.append((source, target, int(step)))
        decay = 0.01 * self.linear.weight.square().sum()
        if self.failure is not None:
            decay = decay * torch.where(step == self.failure.step, self.failure.value, 1.0)
        return {"fit": F.cross_entropy(self.predict(source.features, source.lengths), source.labels), "decay": decay}

    def predict(self, features: Tensor, lengths: Tensor) -> Tensor:  # noqa: ARG002
        logits: Tensor = self.linear(features.mean(2))
        return logits

    def monitor(self) -> Mapping[str, Tensor]:
        return {"weight": self.linear.weight.detach().abs().max()}


@pytest.fixture(scope="module")
def streams(source: FeatureStore, target: FeatureStore) -> tuple[SourceStream, TargetStream]:
    framer = Framer(32, "silence", Statistics.of_corpora([(source, np.arange(len(source)))]), MfccSet().silence)
    mine, other = (CorpusWindows(store, framer, ["de", "en"]) for store in (source, target))
    source_stream = SourceStream([(mine, source.labels("arousal"))], batch_size=8, seed=0)
    return source_stream, TargetStream(other, batch_size=8, seed=0)


Streams = tuple[SourceStream, TargetStream]


def train_linear(streams: Streams, run: Path, method: Linear | None = None, *, steps: int = 5, **config: Any) -> Linear:
    method = method or Linear()
    run.mkdir(exist_ok=True)
    train(
        method,
        *streams,
        TrainConfig(**{"log_every": 1, **config}),
        steps=steps,
        seed=0,
        device=CPU,
        run=RunFolder(run),
        callback=SilentCallback(),
    )
    return method


class TestLoop:
    def test_a_method_gets_the_batches_of_each_step_in_order(self, streams: Streams, tmp_path: Path) -> None:
        given = train_linear(streams, tmp_path).given
        assert [step for _, _, step in given] == [0, 1, 2, 3, 4]
        for source, target, step in given:
            assert type(source) is LabelledBatch
            assert type(target) is Batch
            assert torch.equal(source.features, streams[0].batch(step).features)
            assert torch.equal(source.labels, streams[0].batch(step).labels)
            assert torch.equal(target.features, streams[1].batch(step).features)

    def test_radam_minimises_the_sum_of_the_terms(self, streams: Streams, tmp_path: Path) -> None:
        settings = {"learning_rate": 0.02, "beta1": 0.8, "beta2": 0.9, "epsilon": 1e-6, "weight_decay": 0.1}
        mine = train_linear(streams, tmp_path, steps=8, **settings)
        other = Linear().train()
        optimizer = torch.optim.RAdam(other.parameters(), lr=0.02, betas=(0.8, 0.9), eps=1e-6, weight_decay=0.1)
        for step in range(8):
            optimizer.zero_grad()
            terms = other.losses(streams[0].batch(step), streams[1].batch(step), torch.tensor(step))
            (terms["fit"] + terms["decay"]).backward()
            optimizer.step()
        torch.testing.assert_close(mine.linear.weight, other.linear.weight)
        torch.testing.assert_close(mine.linear.bias, other.linear.bias)


class TestLog:
    @pytest.mark.parametrize(("every", "logged"), [(1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (5, [5]), (99, [5])])
    def test_the_log_has_a_line_per_interval_and_for_the_last_step(
        self, every: int, logged: list[int], streams: Streams, tmp_path: Path
    ) -> None:
        train_linear(streams, tmp_path, log_every=every)
        assert [line["step"] for line in read_log(tmp_path)] == logged

    def test_a_line_has_the_terms_their_total_and_the_monitored_values(self, streams: Streams, tmp_path: Path) -> None:
        train_linear(streams, tmp_path)
        for line in read_log(tmp_path):
            assert list(line) == ["step", "fit", "decay", "total", "weight"]
            assert line["total"] == pytest.approx(line["fit"] + line["decay"])


class TestNotFinite:
    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_the_error_names_the_term_and_the_step(self, value: float, streams: Streams, tmp_path: Path) -> None:
        with pytest.raises(TrainingError, match=r"step 4 \(term decay"):
            train_linear(streams, tmp_path, Linear(Failure(3, value)))
        assert [line["step"] for line in read_log(tmp_path)] == [1, 2, 3]
        assert "NaN" not in RunFolder(tmp_path).metrics.read_text()

    @pytest.mark.parametrize("every", [2, 100])
    def test_the_error_names_the_first_step_even_if_detected_later(
        self, every: int, streams: Streams, tmp_path: Path
    ) -> None:
        # All terms are NaN from the next step on.
        with pytest.raises(TrainingError, match=r"step 3 \(term decay"):
            train_linear(streams, tmp_path, Linear(Failure(2)), steps=9, log_every=every)

    def test_the_error_names_a_file_with_the_ids_of_the_batch(self, streams: Streams, tmp_path: Path) -> None:
        run = RunFolder(tmp_path)
        with pytest.raises(TrainingError) as raised:
            train_linear(streams, tmp_path, Linear(Failure(3)), log_every=100, steps=7)
        source, target = (stream.ids(3) for stream in streams)
        expected = {"term": "decay", "step": 4, "source": source, "target": target}
        assert json.loads(run.not_finite.read_text()) == expected
        assert len(source) == len(target) == 8
        assert str(run.not_finite) in str(raised.value)
        train_linear(streams, tmp_path)
        assert not run.not_finite.exists()

    def test_weights_that_are_not_finite_keep_the_last_good_checkpoint(self, streams: Streams, tmp_path: Path) -> None:
        method = Linear()
        method.linear.bias.register_hook(lambda gradient: gradient * (math.nan if len(method.given) == 3 else 1.0))
        with pytest.raises(TrainingError, match=r"weights .* after step 3"):
            train_linear(streams, tmp_path, method, log_every=100, checkpoint_seconds=0)
        tensors, facts = checkpoint.load_tensors(RunFolder(tmp_path).resume)
        assert facts["step"] == 2
        assert all(tensor.isfinite().all() for tensor in tensors.values() if tensor.is_floating_point())

    def test_a_monitored_value_that_is_not_finite_is_null_in_the_log(self, streams: Streams, tmp_path: Path) -> None:
        method = Linear()
        method.monitor = lambda: {"odd": torch.tensor(math.nan)}  # type: ignore[method-assign]
        train_linear(streams, tmp_path, method)
        assert [line["odd"] for line in read_log(tmp_path)] == [None] * 5


class TestResume:
    def test_a_resumed_log_has_each_step_once(self, streams: Streams, tmp_path: Path) -> None:
        train_linear(streams, tmp_path, steps=3)
        metrics = RunFolder(tmp_path).metrics
        whole = metrics.read_text()
        # A kill leaves steps after the checkpoint, and half a line.
        metrics.write_text(whole + whole.splitlines()[-1].replace('"step": 3', '"step": 4') + '\n{"step": 5, "fi')
        train_linear(streams, tmp_path, steps=5)
        assert [line["step"] for line in read_log(tmp_path)] == [1, 2, 3, 4, 5]
        assert metrics.read_text().startswith(whole)

    @pytest.mark.parametrize("line", ["not JSON", "[]", '{"step": null}'])
    def test_a_damaged_log_is_an_error(self, line: str, streams: Streams, tmp_path: Path) -> None:
        train_linear(streams, tmp_path, steps=3)
        metrics = RunFolder(tmp_path).metrics
        metrics.write_text(line + "\n" + metrics.read_text())
        with expect_run_error(metrics):
            train_linear(streams, tmp_path, steps=5)
