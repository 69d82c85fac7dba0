"""On a GPU, steps agree with the CPU, and deterministic runs are equal bit for bit."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from emodna.model.config import TrainConfig
from emodna.model.data.batch import Batch, LabelledBatch
from emodna.model.data.loading import RESIDENCIES, Loader, Residency
from emodna.model.data.normalisation import Statistics
from emodna.model.data.stream import CorpusWindows, SourceStream, TargetStream
from emodna.model.data.windows import Framer
from emodna.model.inference.trained_model import TrainedModel
from emodna.model.methods.base import Method, Phase
from emodna.model.training.acceleration import CapturedUpdate
from emodna.model.training.loop import Update
from emodna.model.training.state import make_optimizers
from emodna.pipeline.features import MfccSet
from emodna.pipeline.store import FeatureStore
from tests.model.methods.test_every_method import every_method, small
from tests.model.small import STEPPED, InterruptAt, Interruption, Stores, fit_small, make_batches, read_log

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

CUDA = torch.device("cuda")
EVERYTHING = Phase()

if torch.cuda.is_available():
    # cuBLAS reads this at its first use in the process.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def run_step(kind: type[Method], device: torch.device) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """Return the terms and the gradients of one step without dropout."""
    model = small(kind, dropout=0.0).to(device)
    source, target = (batch.to(device) for batch in make_batches())
    assert isinstance(source, LabelledBatch)
    assert isinstance(target, Batch)
    terms = model.losses(source, target, torch.tensor(0, device=device))
    assert all(term.device.type == device.type for term in terms.values())
    torch.stack(list(terms.values())).sum().backward()
    gradients = {name: p.grad.cpu() for name, p in model.named_parameters() if p.grad is not None}
    return {name: term.item() for name, term in terms.items()}, gradients


@every_method
def test_a_step_agrees_with_the_cpu(kind: type[Method]) -> None:
    (cpu_terms, cpu_gradients), (terms, gradients) = run_step(kind, torch.device("cpu")), run_step(kind, CUDA)
    assert terms == pytest.approx(cpu_terms, rel=1e-3, abs=1e-5)
    assert gradients.keys() == cpu_gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, cpu_gradients[name], rtol=1e-2, atol=1e-3)


@every_method
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
def test_a_step_does_not_wait_for_the_device(kind: type[Method]) -> None:
    model = small(kind).to(CUDA)
    source, target = (batch.to(CUDA) for batch in make_batches())
    step = torch.tensor(0, device=CUDA)
    model.losses(source, target, step)  # the first use of the libraries may wait
    torch.cuda.set_sync_debug_mode("error")
    try:
        torch.stack(list(model.losses(source, target, step).values())).sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("cuda_graph", [False, True])
@pytest.mark.parametrize("method", STEPPED)
def test_deterministic_resumed_runs_are_equal(method: str, cuda_graph: bool, pair: Stores, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "method": method,
        "steps": 7,
        "device": CUDA,
        "cuda_graph": cuda_graph,
        "resume": True,
        "settings": {"deterministic": "true", "checkpoint_seconds": "0"},
    }
    for name in ("a", "b"):
        fit_small(*pair, tmp_path / name, **options)
    with pytest.raises(Interruption):
        fit_small(*pair, tmp_path / "c", callback=InterruptAt(4), **options)
    fit_small(*pair, tmp_path / "c", **options)
    models = {name: (tmp_path / name / "model.safetensors").read_bytes() for name in "abc"}
    assert models["a"] == models["b"] == models["c"]
    assert read_log(tmp_path / "a") == read_log(tmp_path / "c")


def test_deterministic_runs_need_no_environment_variable(cache: Path, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "CUBLAS_WORKSPACE_CONFIG"}
    program = Path(sys.executable).with_name("emodna-fit")
    for name in ("a", "b"):
        options = ["--src", "ravdess", "--tgt", "emodb", "--cache", cache, "--steps", "3", "--device", "cuda"]
        options += ["--set", "deterministic=true", "--out", tmp_path / name]
        done = subprocess.run([program, *options], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == (tmp_path / "b" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("residency", RESIDENCIES)
def test_batches_equal_those_of_the_cpu_while_a_slow_step_uses_them(
    residency: Residency, source: FeatureStore, target: FeatureStore
) -> None:
    framer = Framer(32, "silence", Statistics.identity(40), MfccSet().silence)
    of_source, of_target = (CorpusWindows(store, framer, ["de", "en"]) for store in (source, target))
    sources = SourceStream([(of_source, source.labels("arousal"))], batch_size=64, seed=0)
    targets = TargetStream(of_target, batch_size=64, seed=0)
    busy = torch.randn(2000, 2000, device=CUDA)
    sums: list[torch.Tensor] = []
    with Loader(sources, targets, range(50), CUDA, residency) as loader:
        for _ in range(50):
            both = next(loader)
            for _ in range(5):
                busy = (busy @ busy).tanh()  # the device falls behind the host, which loads more batches
            for batch in both:
                assert batch.features.is_cuda
                sums.append(batch.features.double().sum((-1, -2)))
                sums.append(batch.lengths.double())
            del both, batch
    expected = [
        each
        for step in range(50)
        for stream in (sources, targets)
        for each in (stream.batch(step).features.double().sum((-1, -2)), stream.batch(step).lengths.double())
    ]
    for found, wanted in zip(sums, expected, strict=True):
        torch.testing.assert_close(found.cpu(), wanted)


def test_weights_do_not_depend_on_residency(pair: Stores, tmp_path: Path) -> None:
    for residency in RESIDENCIES:
        fit_small(*pair, tmp_path / residency, device=CUDA, residency=residency, settings={"deterministic": "true"})
    models = {(tmp_path / residency / "model.safetensors").read_bytes() for residency in RESIDENCIES}
    assert len(models) == 1


def test_runs_do_not_change_the_random_state_of_the_gpu(pair: Stores, tmp_path: Path) -> None:
    before = torch.cuda.get_rng_state(CUDA)
    fit_small(*pair, tmp_path / "run", device=CUDA)
    assert torch.equal(before, torch.cuda.get_rng_state(CUDA))


def test_a_model_predicts_the_same_on_both_devices(source: FeatureStore, target: FeatureStore, tmp_path: Path) -> None:
    fit_small(source, target, tmp_path / "run", device=CUDA)
    given = [(target[row], float(target.peak_db[row])) for row in range(len(target))]
    on_cpu, on_cuda = (
        TrainedModel.load(tmp_path / "run" / "model.safetensors", device).probabilities(given)
        for device in (torch.device("cpu"), CUDA)
    )
    assert on_cpu == pytest.approx(on_cuda, abs=1e-3)


class Steps:
    """Steps of a method on the GPU, captured or not, from the same initial state."""

    def __init__(self, kind: type[Method], *, captured: bool) -> None:
        self.method = small(kind).to(CUDA)
        optimizers = make_optimizers(self.method.parameter_groups(), TrainConfig(), capturable=True)
        plain = Update(self.method, optimizers, CUDA)
        self.guard = plain.guard
        self.update = CapturedUpdate(plain, plain.undo_steps) if captured else plain

    def take(self, steps: int, phase: Phase = EVERYTHING) -> list[dict[str, float]]:
        """Take steps; return the terms of each."""
        torch.manual_seed(9)
        terms = []
        for number in range(steps):
            source, target = (batch.to(CUDA) for batch in make_batches(seed=number))
            assert isinstance(source, LabelledBatch)
            terms.append({name: term.item() for name, term in self.update(source, target, phase).items()})
        return terms


@every_method
@pytest.mark.filterwarnings("ignore:.*capturable=True")
def test_a_captured_step_equals_the_plain_one(kind: type[Method]) -> None:
    torch.use_deterministic_algorithms(True)
    try:
        captured, plain = Steps(kind, captured=True), Steps(kind, captured=False)
        assert captured.take(8) == plain.take(8)
    finally:
        torch.use_deterministic_algorithms(False)
    for name, tensor in plain.method.state_dict().items():
        assert torch.equal(captured.method.state_dict()[name], tensor), name
    for name, value in plain.method.monitor().items():
        assert captured.method.monitor()[name] == value


@every_method
def test_a_captured_step_detects_a_loss_that_is_not_finite(kind: type[Method]) -> None:
    steps = Steps(kind, captured=True)
    steps.take(3)
    source, target = (batch.to(CUDA) for batch in make_batches())
    source.features.fill_(torch.nan)
    assert isinstance(source, LabelledBatch)
    steps.update(source, target, EVERYTHING)
    found = steps.guard.find_first()
    assert found is not None
    assert found[1] == 3


@every_method
@pytest.mark.filterwarnings("ignore:.*capturable=True")
def test_each_phase_is_captured(kind: type[Method]) -> None:
    captured, plain = Steps(kind, captured=True), Steps(kind, captured=False)
    for phase in (Phase("first"), Phase("second")):
        for mine, other in zip(captured.take(3, phase), plain.take(3, phase), strict=True):
            assert mine == pytest.approx(other, rel=1e-3, abs=1e-5)
