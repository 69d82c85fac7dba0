"""Methods with phases, turns and parameter groups."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from emodna.model.config import TrainConfig
from emodna.model.data.batch import Batch, LabelledBatch
from emodna.model.methods.base import Method, ParameterGroup, Phase, find_phase
from emodna.model.run_folder import RunFolder
from emodna.model.training.loop import train
from emodna.model.training.state import make_optimizers
from tests.model.methods.test_every_method import small
from tests.model.small import STEPPED, SilentCallback, read_log
from tests.model.test_trainer import CPU, Streams, streams

__all__ = ["streams"]


class Duel(Method):
    """Encoder that first learns alone, then against a discriminator with its own optimiser."""

    name = "duel"
    reference = "this test"
    defaults = None
    phases = (Phase("alone", 0.25, (("encoder",),)), Phase("duel", 0.75, (("discriminator",), ("encoder",))))

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Sequential(nn.Linear(40, 4), nn.Dropout(0.5))
        self.classifier = nn.Linear(4, 2)
        self.discriminator = nn.Linear(4, 2)
        self.calls: list[tuple[int, str, tuple[str, ...]]] = []
        self.moved: list[set[str]] = []
        self._before = self._copy_weights()

    def losses(self, source: LabelledBatch, target: Batch, step: Tensor) -> dict[str, Tensor]:
        self.calls.append((int(step), self.phase, self.turn))
        now = self._copy_weights()
        self.moved.append({name for name in now if not torch.equal(now[name], self._before[name])})
        self._before = now
        joint = self.encoder(torch.cat([source.features, target.features]).mean(2))
        corpus = F.cross_entropy(self.discriminator(joint), torch.cat([source.corpus, target.corpus]))
        if self.turn == ("discriminator",):
            return {"discriminator": corpus}
        emotion = F.cross_entropy(self.classifier(joint[: len(source.labels)]), source.labels)
        return {"emotion": emotion} if self.phase == "alone" else {"emotion": emotion, "fooling": -0.1 * corpus}

    def predict(self, features: Tensor, lengths: Tensor) -> Tensor:  # noqa: ARG002
        logits: Tensor = self.classifier(self.encoder(features.mean(2)))
        return logits

    def parameter_groups(self) -> Sequence[ParameterGroup]:
        encoder = (*self.encoder.parameters(), *self.classifier.parameters())
        discriminator = tuple(self.discriminator.parameters())
        return [
            ParameterGroup("encoder", encoder),
            ParameterGroup("discriminator", discriminator, "adam", learning_rate=0.01, betas=(0.5, 0.9)),
        ]

    def _copy_weights(self) -> dict[str, Tensor]:
        return {name.split(".")[0]: p.detach().clone() for name, p in self.named_parameters() if "weight" in name}


def train_duel(streams: Streams, run: Path, *, steps: int = 8, callback: SilentCallback | None = None) -> Duel:
    method = Duel()
    run.mkdir(exist_ok=True)
    config = TrainConfig(log_every=1, checkpoint_seconds=0)
    parts = {"steps": steps, "seed": 0, "device": CPU, "run": RunFolder(run), "callback": callback or SilentCallback()}
    train(method, *streams, config, **parts)
    return method


class TestTraining:
    def test_losses_are_called_for_every_phase_and_turn(self, streams: Streams, tmp_path: Path) -> None:
        alone = [(step, "alone", ("encoder",)) for step in (0, 1)]
        turns = (("discriminator",), ("encoder",))
        assert train_duel(streams, tmp_path).calls == alone + [(step, "duel", t) for step in range(2, 8) for t in turns]

    def test_each_turn_updates_only_its_groups(self, streams: Streams, tmp_path: Path) -> None:
        encoder = {"encoder", "classifier"}
        # Modules that changed since the previous call: first the encoder only, then both alternate.
        assert train_duel(streams, tmp_path).moved == [
            set(),
            encoder,
            encoder,
            *[{"discriminator"}, encoder] * 5,
            {"discriminator"},
        ]

    def test_log_holds_the_terms_of_all_turns_and_their_total(self, streams: Streams, tmp_path: Path) -> None:
        train_duel(streams, tmp_path)
        lines = read_log(tmp_path)
        assert list(lines[0]) == ["step", "emotion", "total"]
        assert list(lines[-1]) == ["step", "discriminator", "emotion", "fooling", "total"]
        last = lines[-1]
        assert last["total"] == pytest.approx(last["discriminator"] + last["emotion"] + last["fooling"])


def test_settings_of_a_group_override_those_of_the_run() -> None:
    optimizers = make_optimizers(Duel().parameter_groups(), TrainConfig(learning_rate=0.5, beta1=0.8, weight_decay=0.1))
    encoder, discriminator = (optimizers[name].param_groups[0] for name in ("encoder", "discriminator"))
    assert isinstance(optimizers["encoder"], torch.optim.RAdam)
    assert isinstance(optimizers["discriminator"], torch.optim.Adam)
    assert (encoder["lr"], encoder["betas"], encoder["weight_decay"]) == (0.5, (0.8, 0.999), 0.1)
    assert (discriminator["lr"], discriminator["betas"]) == (0.01, (0.5, 0.9))


@given(shares=st.lists(st.integers(1, 20), min_size=1, max_size=5), steps=st.integers(1, 200))
def test_phases_are_in_order_and_have_their_shares(shares: list[int], steps: int) -> None:
    total = sum(shares)
    phases = [Phase(str(n), share / total) for n, share in enumerate(shares)]
    sequence = [int(find_phase(phases, step, steps).name) for step in range(steps)]
    assert sequence == sorted(sequence)
    for n, share in enumerate(shares):
        assert abs(sequence.count(n) - Fraction(share * steps, total)) <= 1


@pytest.mark.parametrize("kind", [*STEPPED.values(), Duel], ids=lambda kind: kind.name)
def test_phases_add_up_to_the_training_and_each_parameter_is_in_one_group(kind: type[Method]) -> None:
    method = Duel() if kind is Duel else small(kind)
    groups = method.parameter_groups()
    assert sum(phase.share for phase in method.phases) == pytest.approx(1)
    names = {name for phase in method.phases for turn in phase.turns for name in turn}
    assert names <= {group.name for group in groups}
    grouped = [id(parameter) for group in groups for parameter in group.parameters]
    assert sorted(grouped) == sorted(id(parameter) for parameter in method.parameters())
