"""sADDi: phases, the window decoder, and synthetic utterances."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from emodna.model.methods.addi import DISCRIMINATORS, ENCODER, Addi
from emodna.model.methods.base import Phase
from emodna.model.methods.saddi import Saddi
from tests.model.methods.test_addi import find_changed, select_part, train_steps
from tests.model.methods.test_every_method import Pair, small
from tests.model.small import Stores, assert_same_tensors, fit_small, make_batches, read_log

PRETRAINING, ADAPTATION, AUGMENTATION = Saddi.phases
STEP = torch.tensor(0)


def shorten(pair: Pair) -> Pair:
    """Return the batches with some utterances shorter than the window."""
    lengths = torch.tensor([32, 16, 24, 8, 32, 32, 9, 31])
    source, target = (dataclasses.replace(each, lengths=lengths) for each in pair)
    return source, target


class TestPhases:
    @pytest.mark.parametrize("second", ["codes", "windows"])
    def test_each_phase_changes_its_modules(self, second: str) -> None:
        model = small(Saddi, second_discriminator=second)
        discriminator = "discriminators.second." if second == "windows" else "discriminators.realism."
        names = find_changed(model, make_batches(), PRETRAINING)
        assert select_part("network.classifier", names) == set()
        assert select_part("network.backbone", names)
        assert select_part("network.encoder", names)
        assert select_part("decoder.", names)
        assert select_part("discriminators.", names) == select_part(discriminator, names) != set()
        for phase in (ADAPTATION, AUGMENTATION):
            names = find_changed(model, make_batches(), phase)
            assert select_part("network.classifier", names)
            assert select_part("decoder.", names)
            kinds = {name.split(".")[1] for name in select_part("discriminators.", names)}
            assert kinds == {"first", "second"}

    def test_pretraining_ignores_labels(self) -> None:
        source, target = make_batches()
        other = dataclasses.replace(source, labels=1 - source.labels)
        models = [small(Saddi), small(Saddi)]
        for model, each in zip(models, (source, other), strict=True):
            train_steps(model, (each, target), phase=PRETRAINING)
        assert_same_tensors(models[0].state_dict(), models[1].state_dict())

    def test_adaptation_trains_the_encoder_like_addi(self) -> None:
        models: list[Addi] = [small(Addi), small(Saddi)]  # type: ignore[list-item]
        for model, phase in zip(models, (Addi.phases[0], ADAPTATION), strict=True):
            train_steps(model, make_batches(), phase=phase)
        mine, other = (model.network.state_dict() for model in models)
        assert_same_tensors(mine, other)

    def test_log_shows_all_phases(self, pair: Stores, tmp_path: Path) -> None:
        fit_small(*pair, tmp_path / "run", method="saddi", steps=10)
        lines = read_log(tmp_path / "run")
        first = ["step", "reconstruction", "realism", "judge", "total"]
        second = ["step", "emotion", "adversarial", "reconstruction", "discriminators", "total", "j"]
        assert [list(line) for line in lines] == [first] * 2 + [second] * 5 + [[*second, "synthetic"]] * 3


class TestDecoder:
    @pytest.mark.parametrize("phase", [PRETRAINING, ADAPTATION])
    def test_decoder_does_not_learn_in_the_discriminators_turn(self, phase: Phase) -> None:
        model, pair = small(Saddi, second_discriminator="windows"), make_batches()
        model.phase = phase.name
        for model.turn in (ENCODER, DISCRIMINATORS):
            terms = model.losses(*pair, STEP)
        sum(terms.values()).backward()  # type: ignore[union-attr]
        assert all(parameter.grad is None for parameter in (*model.decoder.parameters(), *model.network.parameters()))

    def test_reconstruction_error_ignores_padding(self) -> None:
        pair = shorten(make_batches())
        model = small(Saddi, dropout=0.0)
        for parameter in model.decoder.parameters():
            torch.nn.init.zeros_(parameter)  # decodes zeros
        model.phase, model.turn = PRETRAINING.name, ENCODER
        squares = [
            value**2
            for batch in pair
            for features, length in zip(batch.features, batch.lengths, strict=True)
            for value in features[:, :length].flatten().tolist()
        ]
        error = model.losses(*pair, STEP)["reconstruction"].item()
        assert error == pytest.approx(sum(squares) / len(squares), rel=1e-5)


class TestSyntheticUtterances:
    def mix(self, labels: list[int], **settings: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Return codes of distinct utterances, and synthetic codes made from them."""
        codes = torch.randn(len(labels), 8, generator=torch.Generator().manual_seed(0))
        torch.manual_seed(0)
        return codes, small(Saddi, **settings)._mix(codes, torch.tensor(labels))

    def test_synthetic_codes_are_between_two_codes_of_a_class(self) -> None:
        labels = [0, 1, 0, 1, 0, 1, 1, 0]
        codes, mixed = self.mix(labels, perturbation=0.0)
        partners = set()
        for row, label in enumerate(labels):
            if torch.equal(mixed[row], codes[row]):
                continue  # its own partner
            fits = []
            for other, other_label in enumerate(labels):
                difference = codes[other] - codes[row]
                projection = ((mixed[row] - codes[row]) * difference).sum()
                part = (projection / difference.square().sum().clamp_min(1e-12)).item()
                if torch.allclose(codes[row] + part * difference, mixed[row], atol=1e-5):
                    fits.append((other_label, part))
                    partners.add(other)
            assert fits
            assert all(other_label == label and 0 <= part <= 0.5 for other_label, part in fits)
        assert len(partners) > 3

    def test_noise_is_relative_to_the_deviation_of_the_codes(self) -> None:
        codes, mixed = self.mix([0, 1] * 200, interpolation=0.0, perturbation=0.1)
        torch.testing.assert_close((mixed - codes).std(0), 0.1 * codes.std(0), rtol=0.15, atol=0)

    def test_emotion_loss_is_half_synthetic_in_the_last_phase(self) -> None:
        pair, terms = make_batches(), {}
        for phase in (ADAPTATION, AUGMENTATION):
            model = small(Saddi, dropout=0.0)
            terms[phase.name] = train_steps(model, pair, steps=1, phase=phase)["emotion"]
        synthetic = model.monitor()["synthetic"]
        torch.testing.assert_close(terms["augmentation"], (terms["adaptation"] + synthetic) / 2)

    def test_synthetic_utterances_do_not_depend_on_the_target(self) -> None:
        source, target = make_batches()
        codes = []
        for each in (target, dataclasses.replace(target, features=target.features + 1)):
            model = small(Saddi, dropout=0.0, batch_norm="source", perturbation=0.0, interpolation=0.0)
            model.phase, model.turn = AUGMENTATION.name, ENCODER
            terms = model.losses(source, each, STEP)
            codes.append(terms["emotion"])
        assert torch.equal(*codes)
