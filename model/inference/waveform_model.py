"""A trained model with a waveform as input, as one torch module without branches, for export."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emodna.model.data.normalisation import MIN_STD
from emodna.model.data.windows import Framer
from emodna.model.inference.encoder_front_end import EncoderFrontEnd
from emodna.model.inference.encoder_graph import EncoderGraph, load_encoder_graph
from emodna.model.inference.front_ends import ExtractedFeatures, LogMelFrontEnd, MfccFrontEnd, WaveFrontEnd, divide_down
from emodna.model.inference.trained_model import TrainedModel
from emodna.model.methods.base import Method
from emodna.pipeline.audio import trim
from emodna.pipeline.errors import ExportError
from emodna.pipeline.features import EncoderSet, FeatureSet, LogMelSet, MfccSet, WaveSet


class WaveformModel(nn.Module):
    """Features, framing, normalisation, network and softmax; raises ExportError for unsupported feature sets."""

    def __init__(self, model: TrainedModel) -> None:
        super().__init__()
        self.front_end = FrontEnd(model.features)
        self.window = _Statistics(model.framer) if model.reads_statistics else _Window(model.framer)
        self.method: Method = model.method
        self._is_binary = len(model.task) == 2
        self.eval()

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Return the probabilities and the logits (batch, classes) of waveforms of one length.

        Of two classes, only the probability of class 1 (batch,) is returned.

        Waveforms are (batch, samples) float32, mono, at the feature set's sample rate. Both results are NaN for digital
        silence and for samples that are not finite.
        """
        extracted: ExtractedFeatures = self.front_end(waveform)
        features, lengths = self.window(extracted)
        logits = self.method.predict(features, lengths)
        logits = torch.where(extracted.audible[:, None], logits, torch.nan)
        probabilities = logits.softmax(1)
        return probabilities[:, 1] if self._is_binary else probabilities, logits


class FrontEnd(nn.Module):
    """`FeatureSet.extract` for waveforms of one length; raises ExportError for unsupported feature sets."""

    def __init__(self, features: FeatureSet) -> None:
        super().__init__()
        self._storage = features.storage
        # Each part gets waveforms (batch, samples) and their lengths (batch,); zeros follow a shorter waveform.
        self.encoder: EncoderGraph | None = load_encoder_graph(features) if isinstance(features, EncoderSet) else None
        """Graph that replaces the placeholder in the exported model."""
        self.parts: nn.Module = self._make_transform(features)
        if features.fixed_samples is not None:
            self.parts = _CentreFit(features.fixed_samples, self.parts)
        if features.trim_db is not None:
            self.parts = _Trim(features.trim_db, features.min_samples, self.parts)

    def forward(self, waveform: Tensor) -> ExtractedFeatures:
        """Return the features of waveforms (batch, samples)."""
        extracted: ExtractedFeatures = self.parts(waveform, _count_rows(waveform).expand(waveform.shape[0]))
        if self._storage == "float32":
            return extracted
        rounded = extracted.features.half().float()
        return extracted._replace(features=rounded, audible=extracted.audible & rounded.isfinite().all(2).all(1))

    def _make_transform(self, features: FeatureSet) -> nn.Module:
        match features:
            case MfccSet():
                return MfccFrontEnd(features)
            case LogMelSet():
                return LogMelFrontEnd(features)
            case WaveSet():
                return WaveFrontEnd()
            case EncoderSet() if self.encoder is not None:
                return EncoderFrontEnd(features, self.encoder.hidden_frames)
        valid = ["mfcc40", "mfcc39", "logmel", "wave16k", "encoder"]
        raise ExportError("features of this kind cannot be exported", where=features.name, valid=valid)


class _CentreFit(nn.Module):
    """A front end after cropping or zero-padding waveforms evenly at both ends to a fixed length."""

    def __init__(self, samples: int, front_end: nn.Module) -> None:
        super().__init__()
        self._samples, self.front_end = samples, front_end

    def forward(self, waveform: Tensor, lengths: Tensor) -> ExtractedFeatures:
        chosen, inside = _select_positions(_centre(lengths, self._samples), lengths, self._samples)
        fitted = waveform.gather(1, chosen) * inside
        extracted: ExtractedFeatures = self.front_end(fitted, torch.full_like(lengths, self._samples))
        return extracted


class _Trim(nn.Module):
    """A front end after cutting silence at both ends, as `emodna.pipeline.audio.trim.trim_silence` does.

    A trimmed waveform begins at the first sample, and zeros follow it.
    """

    def __init__(self, trim_db: float, min_samples: int, front_end: nn.Module) -> None:
        super().__init__()
        self._ratio, self._min_samples, self.front_end = 10 ** (-trim_db / 10), min_samples, front_end

    def forward(self, waveform: Tensor, lengths: Tensor) -> ExtractedFeatures:
        power = _measure_power(waveform)
        loudest = power.amax(1, keepdim=True).clamp_min(trim.POWER_FLOOR)
        is_loud = (power.clamp_min(trim.POWER_FLOOR) > loudest * self._ratio).long()
        first, last = is_loud.argmax(1), is_loud.shape[1] - 1 - is_loud.flip(1).argmax(1)
        start, end = first * trim.HOP, torch.minimum((last + 1) * trim.HOP, lengths)
        too_short = end - start < self._min_samples
        spare = divide_down(self._min_samples - (end - start), 2)
        widened = torch.minimum((start - spare).clamp_min(0), lengths - self._min_samples)
        start = torch.where(too_short, widened, start)
        lengths = torch.where(too_short, self._min_samples, end - start)
        chosen, inside = _select_positions(start, start + lengths, waveform.shape[1])
        extracted: ExtractedFeatures = self.front_end(waveform.gather(1, chosen) * inside, lengths)
        # Samples that are not finite may be outside the trimmed part.
        return extracted._replace(audible=extracted.audible & waveform.isfinite().all(1))


def _measure_power(waveform: Tensor) -> Tensor:
    """Return the mean square (batch, 1 + samples // 512) of each centred, zero-padded frame of (batch, samples)."""
    batch, samples = waveform.shape
    blocks = samples // trim.HOP + 5
    padded = F.pad(waveform, (2 * trim.HOP, (blocks - 2) * trim.HOP - samples))
    energy = padded.reshape(batch, blocks, trim.HOP).double().square().sum(2)
    return (energy[:, :-4] + energy[:, 1:-3] + energy[:, 2:-2] + energy[:, 3:-1]) / (4 * trim.HOP)


class _Window(nn.Module):
    """`Framer` for utterances of one length: (batch, n, dim) to (batch, dim, frames) with lengths (batch,)."""

    mean: Tensor
    std: Tensor

    def __init__(self, framer: Framer) -> None:
        super().__init__()
        self._knows_silence = framer.silence is not None
        self._frames, self._padding = framer.frames, framer.padding
        self._per_utterance = framer.statistics is None
        if framer.statistics is not None:
            self.register_buffer("mean", torch.from_numpy(framer.statistics.mean))
            self.register_buffer("std", torch.from_numpy(framer.statistics.std))

    def forward(self, extracted: ExtractedFeatures) -> tuple[Tensor, Tensor]:
        features, n, silence, _ = extracted
        start = _centre(n, self._frames)
        if self._padding == "mask":
            start = start.clamp_min(0)
        chosen, inside = _select_positions(start, n, self._frames)
        filling = torch.zeros_like(silence) if self._padding == "zero" else silence
        speech = features.gather(1, chosen[:, :, None].expand(-1, -1, features.shape[2]))
        window = torch.where(inside[:, :, None], speech, filling[:, None])
        if self._per_utterance:
            mean, std = _measure_frames(features, n)
            window = (window - mean[:, None]) / std.clamp_min(MIN_STD)[:, None]
        else:
            window = (window - self.mean) / self.std
        if self._padding != "zero" and not self._knows_silence:
            window = torch.where(inside[:, :, None], window, 0.0)  # padded with the mean
        length = n.clamp_max(self._frames) if self._padding == "mask" else torch.full_like(n, self._frames)
        return window.transpose(1, 2), length


class _Statistics(nn.Module):
    """`pool_over_time` and `Framer` for its result: (batch, n, dim) to (batch, 2 dim, 1) with lengths (batch,)."""

    mean: Tensor
    std: Tensor

    def __init__(self, framer: Framer) -> None:
        super().__init__()
        statistics = framer.statistics
        if statistics is None:
            raise ExportError("statistics over the utterance cannot be normalised by themselves")
        self.register_buffer("mean", torch.from_numpy(statistics.mean))
        self.register_buffer("std", torch.from_numpy(statistics.std))

    def forward(self, extracted: ExtractedFeatures) -> tuple[Tensor, Tensor]:
        pooled = torch.cat(_measure_frames(extracted.features.double(), extracted.lengths), 1).float()
        return ((pooled - self.mean) / self.std)[:, :, None], torch.ones_like(extracted.lengths)


def _measure_frames(features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and deviation (batch, dim) of the first `lengths` (batch,) frames of (batch, frames, dim)."""
    own = (torch.arange(features.shape[1]) < lengths[:, None])[:, :, None]
    count = lengths[:, None]
    mean = torch.where(own, features, 0.0).sum(1) / count
    variance = torch.where(own, features - mean[:, None], 0.0).square().sum(1) / count
    return mean, variance.sqrt()


def _count_rows(rows: Tensor) -> Tensor:
    """Return the size of the second dimension as a 0-d int64 tensor, to keep it dynamic in the graph."""
    return torch.arange(rows.shape[1])[-1] + 1


def _centre(length: Tensor, window: int) -> Tensor:
    """Return the start of a window in the middle of `length` (batch,) values; negative if the window is longer."""
    # In float64: the exporter would translate a division of integers by float32.
    return ((length - window).double() / 2).trunc().long()


def _select_positions(start: Tensor, length: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """Return the positions (batch, window) from `start` (batch,) on, clamped to `length` values, and a mask."""
    positions = torch.arange(window) + start[:, None]
    clamped = torch.minimum(positions.clamp_min(0), length[:, None] - 1)
    return clamped, positions == clamped
