"""Encoders of the transformers library: Whisper, wav2vec 2.0, HuBERT and WavLM, from local safetensors.

Hidden states have the library's indices: 0 is the input of the first block, k the output of block k. Blocks after the
last chosen state are not computed.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from emodna.pipeline.encoders.anatomy import MEL_HOP, SAMPLE_RATE, Anatomy, Scaling, choose_layers, require_packages
from emodna.pipeline.errors import EncoderError

#: Files that describe model and input.
CONFIG_FILES: Final = ("config.json", "preprocessor_config.json", "processor_config.json")
#: Types of models that read samples.
_WAVEFORM_TYPES: Final = ("wav2vec2", "hubert", "wavlm")
#: Length in samples of the longest input of these: a little more than the longest example in their training.
_LONGEST: Final = 16 * SAMPLE_RATE
#: Parameter that only training uses.
_MASK: Final = "masked_spec_embed"


def has_gpu() -> bool:
    """Return True if models run on a GPU here."""
    import torch

    return torch.cuda.is_available()


class TransformersEncoder:
    """A model of the transformers library, without the blocks that the chosen hidden states do not need.

    It runs on the GPU if there is one. Its products then have the full precision of float32.
    """

    def __init__(self, path: Path, layers: tuple[str, ...]) -> None:
        self._layers = [int(layer) for layer in layers]
        self._device = "cuda" if has_gpu() else "cpu"
        model, is_whisper = _load_model(path)
        self._model = (model.encoder if is_whisper else model).to(self._device)
        _cut_blocks(model.encoder, max(self._layers), has_last_norm=is_whisper or _has_last_norm(model.config))

    def encode(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the hidden states (n, frames, dim), side by side."""
        import torch

        with torch.inference_mode(), torch.backends.cudnn.flags(deterministic=True, allow_tf32=False):
            samples = torch.from_numpy(inputs).to(self._device)
            states = self._model(samples, output_hidden_states=True).hidden_states
            chosen: NDArray[np.float32] = torch.cat([states[layer] for layer in self._layers], dim=2).cpu().numpy()
        return chosen


def examine_transformers(path: Path, wanted: str | None, default: str | None) -> Anatomy:
    """Return the anatomy of a model in a folder with these hidden states.

    Raises `EncoderError`: another type of model, files that are missing or unusable, no such hidden state.
    """
    config, extractor = _read_config(path), _read_extractor(path)
    scaling: Scaling = "zero mean, unit variance" if getattr(extractor, "do_normalize", False) else "none"
    if config.model_type == "whisper":
        stride = 2 * MEL_HOP
        return Anatomy(
            layers=_choose(wanted, config.encoder_layers, default),
            width=config.d_model,
            front_end="log-mel",
            mels=config.num_mel_bins,
            scaling=scaling,
            padding="back",
            window=config.max_source_positions * stride,
            stride=stride,
            centre=0,
            shortest=400,
        )
    field, stride = 1, 1
    for kernel, step in zip(config.conv_kernel, config.conv_stride, strict=True):
        field += (kernel - 1) * stride
        stride *= step
    return Anatomy(
        layers=_choose(wanted, config.num_hidden_layers, default),
        width=config.hidden_size,
        front_end="waveform",
        mels=0,
        scaling=scaling,
        padding="none",
        window=_LONGEST,
        stride=stride,
        centre=field // 2,
        shortest=field,
    )


def _choose(wanted: str | None, blocks: int, default: str | None) -> tuple[str, ...]:
    return choose_layers(wanted, tuple(str(index) for index in range(blocks + 1)), default)


def _read_config(path: Path) -> Any:
    """Return the configuration of a model that this module knows."""
    require_packages("transformers")
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EncoderError(f"config.json cannot be read: {error}".splitlines()[0], where=path) from error
    if config.model_type not in ("whisper", *_WAVEFORM_TYPES):
        valid = ("whisper", *_WAVEFORM_TYPES)
        raise EncoderError(f"is a model of type {config.model_type}; valid: {', '.join(valid)}", where=path)
    return config


def _read_extractor(path: Path) -> Any:
    """Return the library's feature extractor, which says how the input of the model is prepared."""
    from transformers import AutoFeatureExtractor

    try:
        extractor = AutoFeatureExtractor.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EncoderError("has no usable preprocessor_config.json, which describes its input", where=path) from error
    if extractor.sampling_rate != SAMPLE_RATE:
        raise EncoderError(f"reads audio at {extractor.sampling_rate} Hz, not at {SAMPLE_RATE} Hz", where=path)
    return extractor


def _load_model(path: Path) -> tuple[Any, bool]:
    """Return a model in evaluation mode, and True if it is Whisper; raise an `EncoderError` if weights are missing."""
    config = _read_config(path)
    from safetensors import SafetensorError
    from transformers import AutoModel
    from transformers.utils import logging

    verbosity, has_bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        model, report = AutoModel.from_pretrained(
            path,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            dtype="float32",
        )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise EncoderError(f"its weights cannot be loaded: {error}".splitlines()[0], where=path) from error
    finally:
        logging.set_verbosity(verbosity)
        if has_bar:
            logging.enable_progress_bar()
    is_whisper = config.model_type == "whisper"
    missing = [name for name in report["missing_keys"] if _MASK not in name]
    missing = [name for name in missing if not is_whisper or name.startswith("encoder.")]
    if missing:  # the library would fill them with random numbers
        raise EncoderError(f"lacks {len(missing)} weights of the encoder, such as {missing[0]}", where=path)
    return model.eval(), is_whisper


def _has_last_norm(config: Any) -> bool:
    """Return True if a normalisation follows the last block; else it precedes the first one."""
    return bool(config.do_stable_layer_norm)


def _cut_blocks(encoder: Any, last: int, *, has_last_norm: bool) -> None:
    """Remove the blocks after hidden state `last`, and the normalisation that follows them."""
    import torch

    if last < len(encoder.layers):
        encoder.layers = encoder.layers[: max(last, 1)]  # without any block, the library returns no states
        if has_last_norm:
            encoder.layer_norm = torch.nn.Identity()
