"""Features of an encoder as a torch module for export, with a placeholder for the encoder's own graph.

The module does for a batch of waveforms, each with its own length, what `emodna.pipeline.encoders` does for one:
overlapping windows, their padding and scaling, Whisper's log-mel spectrogram, and the mean of the hidden states per
frame. `emodna.model.inference.encoder_graph` replaces the placeholder.
"""

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emodna.model.inference.front_ends import SILENCE, ExtractedFeatures, PowerSpectrum, divide_down
from emodna.pipeline.audio.mel import mel_filters
from emodna.pipeline.encoders.anatomy import MEL_HOP, SAMPLE_RATE, Anatomy
from emodna.pipeline.encoders.front_end import N_FFT, POWER_FLOOR, VARIANCE_FLOOR
from emodna.pipeline.features import EncoderSet

#: Operator of the placeholder. Its inputs are those of the encoder (n, mels, frames) or (n, samples), and their own
#: lengths (n,) in frames or samples. Its outputs are hidden states (n, frames, dim) and their lengths (n,) in frames.
PLACEHOLDER: Final = "emodna::Encoder"


class EncoderFrontEnd(nn.Module):
    """`EncoderSet.transform`.

    Parameters
    ----------
    features
        The feature set.
    hidden_frames
        Frames of the hidden states of a whole window, if the encoder takes a batch of such windows. None if it runs
        once per window: the placeholder's hidden states have one frame more than whole strides then.
    """

    filters: Tensor

    def __init__(self, features: EncoderSet, hidden_frames: int | None) -> None:
        super().__init__()
        self._anatomy, self._dim, self._hidden_frames = features.anatomy, features.dim, hidden_frames
        self._overlap, self._hop = features.overlap, features.hop_length
        if self._anatomy.front_end == "log-mel":
            self.power = PowerSpectrum(N_FFT, MEL_HOP)
            filters = mel_filters(sample_rate=SAMPLE_RATE, n_fft=N_FFT, n_mels=self._anatomy.mels)
            self.register_buffer("filters", self.power.arrange_filters(filters))

    def forward(self, waveform: Tensor, lengths: Tensor) -> ExtractedFeatures:
        """Return the features."""
        batch, samples = waveform.shape
        step = self._anatomy.window - self._overlap
        beyond = (lengths - self._anatomy.window).clamp_min(0)[:, None]
        longer: int = torch.sym_max(samples - self._anatomy.window, 0)  # type: ignore[no-untyped-call]
        windows = torch.arange(1 + (longer + step - 1) // step)
        starts = torch.minimum(windows * step, beyond)  # (batch, windows)
        stops = torch.minimum(starts + self._anatomy.window, lengths[:, None])
        own = stops - starts
        inputs, input_lengths, front = self._make_inputs(waveform, starts, own)
        hidden, hidden_lengths = self._encode(inputs, input_lengths)
        # Hidden states that are not padding, (batch, windows) each.
        offset = starts + self._anatomy.centre - front
        first = _divide_up(starts - offset, self._anatomy.stride).clamp_min(0)
        end = _divide_up(stops - offset, self._anatomy.stride)
        end = torch.minimum(end, hidden_lengths.reshape(batch, -1)).clamp_min(1)
        # Frames (batch,) of the features, and the frame before which the next window takes over.
        last = _divide_up(beyond, step)  # (batch, 1): number of the last window
        last_centre = ((end - 1) * self._anatomy.stride + offset).gather(1, last)
        frames = divide_down(last_centre, self._hop)[:, 0] + 1
        next_starts = torch.minimum((windows + 1) * step, beyond)
        next_stops = torch.minimum(next_starts + self._anatomy.window, lengths[:, None])
        border = _divide_up(starts + stops + next_starts + next_stops - 2 * self._hop, 4 * self._hop)
        border = torch.where(windows < last, border, frames[:, None])
        numbers = torch.arange((samples + self._hop - 1) // self._hop).expand(batch, -1)
        window = (numbers[:, None] >= border[:, :, None]).sum(1)  # (batch, frames)
        window = torch.minimum(window, last)
        features = self._average(hidden, numbers, window, (first, end, border, offset))
        audible = waveform.isfinite().all(1) & (waveform.abs().amax(1) > SILENCE)
        return ExtractedFeatures(features, frames, torch.zeros_like(features[:, 0]), audible)

    def _make_inputs(self, waveform: Tensor, starts: Tensor, own: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the encoder's inputs of the windows, their lengths, and the zeros (batch, windows) before the audio.

        `starts` and `own` (batch, windows) are the first sample and the length of each window.
        """
        samples = waveform.shape[1]
        anatomy, unit = self._anatomy, MEL_HOP if self._anatomy.front_end == "log-mel" else 1
        if anatomy.padding == "none":
            # Whole frames, as in `emodna.pipeline.encoders.front_end.pad`.
            block = anatomy.stride if anatomy.front_end == "log-mel" else 1
            size: int = torch.sym_min(samples, anatomy.window)  # type: ignore[no-untyped-call]
            size = (size + block - 1) // block * block
            padded = (_divide_up(own, block) * block).flatten()
            front = torch.zeros_like(own)
        else:
            size = anatomy.window
            padded = torch.full_like(own, size).flatten()
            front = anatomy.window - own if anatomy.padding == "front" else torch.zeros_like(own)
        places = torch.arange(size) - front[:, :, None]
        inside = ((places >= 0) & (places < own[:, :, None])).reshape(-1, size)
        positions = (starts[:, :, None] + places).clamp_min(0).clamp_max(samples - 1)
        signal = waveform.gather(1, positions.flatten(1)).reshape(-1, size)
        signal = torch.where(inside, signal, 0.0)
        if anatomy.scaling != "none":
            is_padded = torch.arange(size) < padded[:, None]
            centred = torch.where(is_padded, signal - signal.sum(1, keepdim=True) / padded[:, None], 0.0)
            variance = centred.square().sum(1, keepdim=True) / padded[:, None]
            signal = centred / (variance + VARIANCE_FLOOR).sqrt()
        if anatomy.front_end == "log-mel":
            signal = self._compute_log_mel(signal, padded)
        return signal, divide_down(padded, unit), front

    def _compute_log_mel(self, signal: Tensor, lengths: Tensor) -> Tensor:
        """Return Whisper's log-mel spectrogram (n, mels, frames) of (n, samples) with their own lengths (n,)."""
        size = signal.shape[1]
        if self._anatomy.padding == "none":
            places = (torch.arange(size + N_FFT) - N_FFT // 2).abs()
            end = lengths[:, None] - 1
            places = torch.where(places > end, 2 * end - places, places).clamp_min(0)
            reflected = signal.gather(1, places)
        else:
            reflected = F.pad(signal[:, None], (N_FFT // 2, N_FFT // 2), mode="reflect")[:, 0]
        log_mel = (self.power(reflected, size // MEL_HOP) @ self.filters).clamp_min(POWER_FLOOR).log10()
        is_own = torch.arange(size // MEL_HOP) < divide_down(lengths, MEL_HOP)[:, None]
        peak = torch.where(is_own[:, :, None], log_mel, -torch.inf).amax((1, 2), keepdim=True)
        return ((torch.maximum(log_mel, peak - 8.0) + 4.0) / 4.0).transpose(1, 2)

    def _encode(self, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return the hidden states (n, frames, dim) of inputs, and their lengths (n,), as the placeholder's outputs."""
        frames = self._hidden_frames
        if frames is None:
            frames = inputs.shape[-1] // find_hop(self._anatomy) + 1
        hidden, hidden_lengths = torch.onnx.ops.symbolic_multi_out(
            PLACEHOLDER,
            (inputs, lengths),
            dtypes=(torch.float32, torch.int64),
            shapes=((inputs.shape[0], frames, self._dim), (inputs.shape[0],)),
        )
        return hidden, hidden_lengths

    def _average(
        self, hidden: Tensor, numbers: Tensor, window: Tensor, parts: tuple[Tensor, Tensor, Tensor, Tensor]
    ) -> Tensor:
        """Return the means (batch, frames, dim) of the hidden states in each frame, which one window gives.

        `parts` (batch, windows) are the first and the end of each window's own hidden states, the feature frame before
        which it ends, and the sample at the centre of its first hidden state. A frame without hidden states gets the
        next one, or the last.
        """
        stride, size = self._anatomy.stride, hidden.shape[1]
        first, end, border, offset = (each.gather(1, window) for each in parts)

        def find(frame: Tensor) -> Tensor:
            """Return the first hidden state in a feature frame or after it."""
            found = _divide_up(frame * self._hop - offset, stride)
            return torch.minimum(torch.maximum(found, first), end)

        begin, stop = find(numbers), find(numbers + 1)
        latest = torch.maximum(find(border), first + 1) - 1
        begin = torch.minimum(begin, latest)
        count = (stop - begin).clamp_min(1)
        batch, windows = parts[0].shape
        rows = hidden.reshape(-1, self._dim)
        base = (torch.arange(batch)[:, None] * windows + window) * size
        total = torch.zeros(())
        for place in range(-(-self._hop // stride)):
            chosen = (base + torch.minimum(begin + place, end - 1)).flatten()
            value = rows.index_select(0, chosen).reshape(batch, -1, self._dim)
            total = total + torch.where((place < count)[:, :, None], value, 0.0)
        return total / count[:, :, None]


def find_hop(anatomy: Anatomy) -> int:
    """Return the step between two frames of the hidden states, in frames or samples of the encoder's input."""
    return anatomy.stride // (MEL_HOP if anatomy.front_end == "log-mel" else 1)


def _divide_up(value: Tensor, divisor: int) -> Tensor:
    """Return integers divided by a positive one, rounded up."""
    return -divide_down(-value, divisor)
