"""sADDi: ADDi behind a self-supervised beginning, and with windows of its own making among the source's."""

from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from emodna.model.config import Constraint, Count, Weight
from emodna.model.data.batch import Batch, LabelledBatch
from emodna.model.losses.adversarial import reward
from emodna.model.methods.addi import DISCRIMINATORS, TURNS, Addi, AddiConfig
from emodna.model.methods.alignment import DomainPair
from emodna.model.methods.base import Phase
from emodna.model.networks.discriminators import WindowDecoder, WindowDiscriminator
from emodna.model.networks.passes import keep_running_statistics
from emodna.model.reproducibility import use_seed

_Fraction = Annotated[float, Constraint("from 0 to 1", lambda value: 0 <= value <= 1)]


@dataclass(frozen=True)
class SaddiConfig(AddiConfig):
    """Settings of ADDi, and of the decoder."""

    decoder_channels: Count = 64
    """Of the decoder, and of the discriminator of its windows."""
    realism_weight: Weight = 0.1
    """Of the game between decoder and discriminator of windows, beside the squared error."""
    second_discriminator: Literal["codes", "windows"] = "codes"
    """Inputs of D2: codes, target's or source's, or windows, real or decoded."""
    interpolation: _Fraction = 0.5
    """Largest part of another code of the same class in a synthetic utterance's code."""
    perturbation: Weight = 0.1
    """Deviation of the noise on it, in deviations of the source's codes."""


class Saddi(Addi):
    """First a decoder learns windows from codes, without a label; then ADDi; then ADDi with synthetic utterances.

    The decoder goes on learning from the codes as they change, without a say in them.
    """

    name = "saddi"
    summary = "addi after self-supervised pre-training, and with synthetic utterances in the end"
    defaults = SaddiConfig()
    phases = (Phase("pretraining", 0.2, TURNS), Phase("adaptation", 0.5, TURNS), Phase("augmentation", 0.3, TURNS))

    config: SaddiConfig

    def __init__(self, dim: int, config: SaddiConfig, seed: int) -> None:
        super().__init__(dim, config, seed)
        self.config = config
        with use_seed(seed, "window decoder"):
            self.decoder = WindowDecoder(config.channels, dim, config.decoder_channels)
        # D2 itself where that judges windows.
        self._window_judge = "second" if config.second_discriminator == "windows" else "realism"
        with use_seed(seed, "window discriminator"):
            self.discriminators[self._window_judge] = WindowDiscriminator(dim, config.decoder_channels)

    def losses(self, source: LabelledBatch, target: Batch, step: Tensor) -> dict[str, Tensor]:
        """Return the terms of one turn of the phase in which the training is."""
        if self.phase == "pretraining":
            return self._pretraining_losses(source, target)
        terms = super().losses(source, target, step)
        if self.turn == DISCRIMINATORS:
            return terms
        if self.phase == "augmentation":
            synthetic = self._synthetic_loss(source)
            terms["emotion"] = (terms["emotion"] + synthetic) / 2  # one batch, half of which is synthetic
            self._monitored["synthetic"] = synthetic.detach()
        real = _Windows.of(source, target)
        decoded = self._decode(torch.cat(self._codes), real)  # of codes without gradient: the decoder follows
        return {**terms, "reconstruction": _squared_error(decoded, real)}

    def game(self, codes: DomainPair, source: Batch, target: Batch) -> Tensor:
        """Return J, with windows in the place of codes for D2 if that judges them: it rewards the real ones."""
        if self.config.second_discriminator == "codes":
            return super().game(codes, source, target)
        first, real = self.discriminators["first"], _Windows.of(source, target)
        of_codes = reward(first(codes.source), first(codes.target), self.config.d2gan_alpha)
        return of_codes + self._play_window_game(self._decode(torch.cat(codes), real), real, self.config.d2gan_beta)

    def _pretraining_losses(self, source: Batch, target: Batch) -> dict[str, Tensor]:
        """Return the squared error, and the game of encoder and decoder against the discriminator of windows."""
        real = _Windows.of(source, target)
        if self.turn == DISCRIMINATORS:
            return {"judge": -self._play_window_game(self._decode(torch.cat(self._codes), real), real)}
        _, codes = self.encoded(source, target)
        self._monitored = {}
        decoded = self._decode(torch.cat(codes), real)
        return {
            "reconstruction": _squared_error(decoded, real),
            "realism": self.config.realism_weight * self._play_window_game(decoded, real),
        }

    def _decode(self, codes: Tensor, like: "_Windows") -> Tensor:
        """Decode codes (n, channels) to windows (n, dim, frames), with the lengths of n others and their padding."""
        frames = like.features.shape[2]
        counted = torch.arange(frames, device=codes.device) < like.lengths.unsqueeze(1)  # (n, frames)
        with torch.set_grad_enabled(self.turn != DISCRIMINATORS):  # in whose turn the decoder learns nothing
            return torch.where(counted.unsqueeze(1), self.decoder(codes, frames), like.features)

    def _play_window_game(self, decoded: Tensor, real: "_Windows", weight: float = 1.0) -> Tensor:
        """Return the value that the discriminator of windows (n, dim, frames) maximises."""
        judge = self.discriminators[self._window_judge]
        return reward(judge(real.features, real.lengths), judge(decoded, real.lengths), weight)

    def _synthetic_loss(self, source: LabelledBatch) -> Tensor:
        """Return the cross-entropy of as many synthetic utterances as the source's batch has, with its labels."""
        codes = self._mix(self._codes.source, source.labels)
        windows = self._decode(codes, _Windows(source.features, source.lengths)).detach()
        with keep_running_statistics(self.network):  # those of real utterances, for prediction
            return F.cross_entropy(self.network(windows, source.lengths), source.labels)

    def _mix(self, codes: Tensor, labels: Tensor) -> Tensor:
        """Mix each of n codes (n, channels) with another one of its class, or itself, and add noise."""
        scores = codes.new_empty(len(codes), len(codes)).uniform_()
        partners = torch.where(labels.unsqueeze(1) == labels, scores, -1).argmax(1)
        part = self.config.interpolation * codes.new_empty(len(codes), 1).uniform_()
        noise = self.config.perturbation * codes.std(0, correction=0) * torch.randn_like(codes)
        return torch.lerp(codes, codes.index_select(0, partners), part) + noise


class _Windows(NamedTuple):
    """Windows (n, dim, frames), of which the first `lengths` (n,) frames count."""

    features: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, source: Batch, target: Batch) -> Self:
        """Join the windows of both batches."""
        return cls(torch.cat([source.features, target.features]), torch.cat([source.lengths, target.lengths]))


def _squared_error(decoded: Tensor, real: _Windows) -> Tensor:
    """Return the mean over all values that count: behind its length a decoded window is the real one."""
    counted = real.lengths.sum() * real.features.shape[1]
    return (decoded - real.features).square().sum() / counted
