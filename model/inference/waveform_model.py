"""A trained model from the waveform on, as one module of torch without a branch: what is exported."""

import torch
from torch import Tensor, nn

from emodna.model.data.normalisation import MIN_STD
from emodna.model.inference.front_end import Extracted, centred, front_end, length_of, positions
from emodna.model.inference.trained_model import TrainedModel
from emodna.model.methods.base import Method


class WaveformModel(nn.Module):
    """Feature extraction, framing, normalisation, network and softmax of a trained model, in evaluation mode.

    Raises
    ------
    ExportError
        Its features cannot be extracted in a graph.
    """

    def __init__(self, model: TrainedModel) -> None:
        super().__init__()
        self.front_end = front_end(model.features)
        self.window = _Window(model)
        self.method: Method = model.method
        self.eval()

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Answer for waveforms of one length.

        Parameters
        ----------
        waveform
            (batch, samples) float32, mono, at the feature set's sample rate.

        Returns
        -------
        probability
            (batch,) of class 1 (high / positive).
        logits
            (batch, 2). Both are NaN for digital silence, and for samples that are not finite.
        """
        extracted: Extracted = self.front_end(waveform)
        features, lengths = self.window(extracted)
        logits = self.method.predict(features, lengths)
        logits = torch.where(extracted.heard[:, None], logits, torch.nan)
        return logits.softmax(1)[:, 1], logits


class _Window(nn.Module):
    """`Framer`, for several utterances of one length: (batch, n, dim) to (batch, dim, frames), and lengths (batch,)."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: TrainedModel) -> None:
        super().__init__()
        framer = model.framer
        self._frames, self._padding = framer.frames, framer.padding
        self._per_utterance = framer.statistics is None
        if framer.statistics is not None:
            self.register_buffer("mean", torch.from_numpy(framer.statistics.mean))
            self.register_buffer("std", torch.from_numpy(framer.statistics.std))

    def forward(self, extracted: Extracted) -> tuple[Tensor, Tensor]:
        features, silence, _ = extracted
        n = length_of(features)
        start = centred(n, self._frames)
        if self._padding == "mask":
            start = start.clamp_min(0)
        chosen, inside = positions(start, n, self._frames)
        filling = torch.zeros_like(silence) if self._padding == "zero" else silence
        window = torch.where(inside[:, None], features.index_select(1, chosen), filling[:, None])
        if self._per_utterance:
            std, mean = torch.std_mean(features, 1, correction=0, keepdim=True)
            window = (window - mean) / std.clamp_min(MIN_STD)
        else:
            window = (window - self.mean) / self.std
        length = n.clamp_max(self._frames) if self._padding == "mask" else torch.full_like(n, self._frames)
        return window.transpose(1, 2), length.expand(features.shape[0])
