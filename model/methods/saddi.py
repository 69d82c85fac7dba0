"""sADDi: ADDi with self-supervised pre-training and synthetic utterances."""

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
    """Settings of ADDi and of the decoder."""

    decoder_channels: Count = 64
    """Channels of the decoder and of the window discriminator."""
    realism_weight: Weight = 0.1
    """Weight of the decoder's game against the window discriminator. The squared error has weight 1."""
    second_discriminator: Literal["codes", "windows"] = "codes"
    """Inputs of D2: codes of source and target, or real and decoded windows."""
    interpolation: _Fraction = 0.5
    """Largest share of a partner's code in a synthetic code. The partner has the same class."""
    perturbation: Weight = 0.1
    """Standard deviation of the noise on synthetic codes, relative to the source's codes."""


class Saddi(Addi):
    """ADDi in three phases: self-supervised pre-training, adaptation, adaptation with synthetic utterances.

    Pre-training trains encoder and decoder on reconstruction. Later only the decoder learns from reconstruction.
    """

    name = "saddi"
    summary = "addi with self-supervised pre-training and, in its last phase, synthetic utterances"
    defaults = SaddiConfig()
    phases = (Phase("pretraining", 0.2, TURNS), Phase("adaptation", 0.5, TURNS), Phase("augmentation", 0.3, TURNS))

    config: SaddiConfig

    def __init__(self, dim: int, config: SaddiConfig, seed: int, classes: int = 2) -> None:
        super().__init__(dim, config, seed, classes)
        with use_seed(seed, "window decoder"):
            self.decoder = WindowDecoder(config.channels, dim, config.decoder_channels)
        # If D2 reads windows, it is also the window discriminator.
        self._window_discriminator = "second" if config.second_discriminator == "windows" else "realism"
        with use_seed(seed, "window discriminator"):
            self.discriminators[self._window_discriminator] = WindowDiscriminator(dim, config.decoder_channels)

    def losses(self, source: LabelledBatch, target: Batch, step: Tensor) -> dict[str, Tensor]:
        """Return the terms of the current turn and phase."""
        if self.phase == "pretraining":
            return self._pretraining_losses(source, target)
        terms = super().losses(source, target, step)
        if self.turn == DISCRIMINATORS:
            return terms
        if self.phase == "augmentation":
            synthetic = self._synthetic_loss(source)
            terms["emotion"] = (terms["emotion"] + synthetic) / 2  # half of the batch is synthetic
            self._monitored["synthetic"] = synthetic.detach()
        real = _Windows.join(source, target)
        decoded = self._decode(torch.cat(self._codes), real)  # of detached codes: only the decoder learns
        return {**terms, "reconstruction": _squared_error(decoded, real)}

    def compute_j(self, codes: DomainPair, source: Batch, target: Batch) -> Tensor:
        """Return J. If D2 reads windows, it rewards real ones instead of target codes."""
        if self.config.second_discriminator == "codes":
            return super().compute_j(codes, source, target)
        first, real = self.discriminators["first"], _Windows.join(source, target)
        of_codes = reward(first(codes.source), first(codes.target), self.config.d2gan_alpha)
        return of_codes + self._play_window_game(self._decode(torch.cat(codes), real), real, self.config.d2gan_beta)

    def _pretraining_losses(self, source: Batch, target: Batch) -> dict[str, Tensor]:
        """Return the terms of pre-training: squared error, and the game against the window discriminator."""
        real = _Windows.join(source, target)
        if self.turn == DISCRIMINATORS:
            return {"judge": -self._play_window_game(self._decode(torch.cat(self._codes), real), real)}
        _, codes = self.encode_both(source, target)
        self._monitored = {}
        decoded = self._decode(torch.cat(codes), real)
        return {
            "reconstruction": _squared_error(decoded, real),
            "realism": self.config.realism_weight * self._play_window_game(decoded, real),
        }

    def _decode(self, codes: Tensor, like: "_Windows") -> Tensor:
        """Decode codes (n, channels) to windows (n, dim, frames) with the lengths and the padding of `like`."""
        frames = like.features.shape[2]
        counted = torch.arange(frames, device=codes.device) < like.lengths.unsqueeze(1)  # (n, frames)
        with torch.set_grad_enabled(self.turn != DISCRIMINATORS):  # then the decoder does not learn
            return torch.where(counted.unsqueeze(1), self.decoder(codes, frames), like.features)

    def _play_window_game(self, decoded: Tensor, real: "_Windows", weight: float = 1.0) -> Tensor:
        """Return the objective that the window discriminator maximises, a scalar."""
        discriminator = self.discriminators[self._window_discriminator]
        return reward(discriminator(real.features, real.lengths), discriminator(decoded, real.lengths), weight)

    def _synthetic_loss(self, source: LabelledBatch) -> Tensor:
        """Return the cross-entropy of synthetic utterances, one for each source utterance and with its label."""
        codes = self._mix(self._codes.source, source.labels)
        windows = self._decode(codes, _Windows(source.features, source.lengths)).detach()
        with keep_running_statistics(self.network):  # prediction uses the statistics of real utterances
            return F.cross_entropy(self.network(windows, source.lengths), source.labels)

    def _mix(self, codes: Tensor, labels: Tensor) -> Tensor:
        """Mix each code (n, channels) with a random one of its class, possibly itself, and add noise."""
        scores = codes.new_empty(len(codes), len(codes)).uniform_()
        partners = torch.where(labels.unsqueeze(1) == labels, scores, -1).argmax(1)
        part = self.config.interpolation * codes.new_empty(len(codes), 1).uniform_()
        noise = self.config.perturbation * codes.std(0, correction=0) * torch.randn_like(codes)
        return torch.lerp(codes, codes.index_select(0, partners), part) + noise


class _Windows(NamedTuple):
    """Windows (n, dim, frames) with their `lengths` (n,) in frames."""

    features: Tensor
    lengths: Tensor

    @classmethod
    def join(cls, source: Batch, target: Batch) -> Self:
        return cls(torch.cat([source.features, target.features]), torch.cat([source.lengths, target.lengths]))


def _squared_error(decoded: Tensor, real: _Windows) -> Tensor:
    """Return the mean squared error over all frames within the lengths. Padding is equal in both."""
    count = real.lengths.sum() * real.features.shape[1]
    return (decoded - real.features).square().sum() / count
