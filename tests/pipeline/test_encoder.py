"""Hidden states of encoders as features: ONNX graphs and models of transformers, their layers and their weights."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emodna.pipeline.encoders import known
from emodna.pipeline.encoders.front_end import compute_log_mel
from emodna.pipeline.errors import AudioError, EmodnaError, EncoderError
from emodna.pipeline.features import EncoderSet, describe_assumptions, make_feature_set, rebuild_feature_set
from emodna.pipeline.features.encoder import describe_encoder
from emodna.pipeline.prepare.executors import make_process_factory
from emodna.pipeline.store import FeatureStore
from tests.pipeline.making import Float32, content, make_emodb_names, noise, prepare_corpus, write_tiny_emodb
from tests.pipeline.tiny_encoders import WIDTH, write_onnx, write_transformers

onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'emodna[encoders]'")
transformers = pytest.importorskip("transformers", reason="needs transformers: pip install 'emodna[encoders]'")

HOP = 640
KINDS = ("whisper", "wav2vec2", "hubert", "wavlm")
#: The same as parameters. Making and loading each kind takes a second.
EACH_KIND = ["whisper", *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS[1:3]), "wavlm"]


class _Models(dict[str, Path]):
    """Encoders by kind, each written when it is first used; `fixed` and `fixed wave` need inputs of one length."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def __missing__(self, kind: str) -> Path:
        if kind in KINDS:
            self[kind] = write_transformers(self._folder / kind, kind)
        else:
            is_wave = kind.endswith("wave")
            length = (16_000 if is_wave else 100) if kind.startswith("fixed") else "length"
            path = self._folder / f"{kind.replace(' ', '-')}.onnx"
            self[kind] = write_onnx(path, "waveform" if is_wave else "log-mel", frames=length)
        return self[kind]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return _Models(tmp_path_factory.mktemp("encoders"))


def run_onnx(path: Path, inputs: Float32, *outputs: str) -> Float32:
    """Return the named outputs side by side, of the whole graph."""
    import onnx

    model = onnx.load(path)
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.concatenate(session.run(list(outputs), {"input": inputs[None]}), axis=2)[0]


def average_slowly(hidden: Float32, centres: Any, length: int) -> Float32:
    """Return the means of the frames whose centres lie in each 40 ms of `length` samples."""
    rows: dict[int, list[Float32]] = {}
    for row, centre in zip(hidden, centres, strict=True):
        if 0 <= centre < length:
            rows.setdefault(centre // HOP, []).append(row)
    assert list(rows) == list(range(len(rows)))
    return np.stack([np.mean(each, axis=0) for each in rows.values()])


@pytest.mark.parametrize("seconds", [0.05, 0.31, 1.0])
@pytest.mark.parametrize("padding", ["front", "back"])
def test_a_fixed_length_is_padded_and_the_padding_dropped(
    models: dict[str, Path], seconds: float, padding: str
) -> None:
    features = replace(describe_encoder(str(models["fixed"]), "1,0"), padding=padding)
    samples = noise(seconds)
    missing = 16_000 - len(samples)
    front = missing if padding == "front" else 0
    log_mel = compute_log_mel(np.pad(samples, (front, missing - front)), 80)
    hidden = run_onnx(models["fixed"], log_mel, "second", "first")
    expected = average_slowly(hidden, np.arange(50) * 320 - front, len(samples))
    np.testing.assert_allclose(features.transform(samples)[0], expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["any", "wave"])
def test_a_graph_of_any_length_gets_no_padding(models: dict[str, Path], kind: str) -> None:
    features = describe_encoder(str(models[kind]), "0")
    assert (features.padding, features.stride) == ("none", 320)
    samples = noise(0.61)  # 9760 samples
    inputs = compute_log_mel(np.pad(samples, (0, 160)), 80) if kind == "any" else samples
    hidden = run_onnx(models[kind], inputs, "first")
    centre = {"any": 0, "wave": 200}[kind]
    assert features.centre == centre
    expected = average_slowly(hidden, np.arange(len(hidden)) * 320 + centre, len(samples))
    np.testing.assert_allclose(features.transform(samples)[0], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("front_end", "frames", "stride", "expected"),
    [
        *(("waveform", None, stride, stride) for stride in (256, 1280, 9000)),
        *(("log-mel", frames, stride, 160 * stride) for frames in (None, 100) for stride in (3, 8)),
    ],
)
def test_the_distance_between_frames_is_exact(
    tmp_path: Path, front_end: str, frames: int | None, stride: int, expected: int
) -> None:
    features = describe_encoder(str(write_onnx(tmp_path / "any.onnx", front_end, frames=frames, stride=stride)))
    centre = 200 if front_end == "waveform" else 0
    assert (features.stride, features.centre) == (expected, centre)
    assert features.extract(noise(features.shortest / 16_000 + 1e-4))[0].dtype == np.float32
    assert len(features.extract(noise(3.0))[0]) == pytest.approx(75, abs=1 + expected / HOP)


@pytest.mark.parametrize(
    ("how", "problem"),
    [
        ("constant length", "100 frames with 8 values each in 1 s of audio, and 100 with 8"),
        ("growing width", "98 values each in 2 s|in 1 s of audio"),
        ("more frames than samples", "more than one per sample"),
        ("one frame", "has no hidden states"),
        ("two axes", "has no hidden states"),
        ("a list", "has no hidden states"),
    ],
)
def test_hidden_states_that_do_not_follow_the_audio_are_refused(tmp_path: Path, how: str, problem: str) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def constant(name: str, *values: int) -> Any:
        return numpy_helper.from_array(np.array(values), name)

    samples: int | str = 16 if how == "more frames than samples" else "samples"
    one = helper.make_node("Unsqueeze", ["input", "axis"], ["column"])  # (1, 1, samples)
    nodes = {
        "constant length": [
            one,
            helper.make_node("Slice", ["column", "zero", "length", "last"], ["cut"]),
            helper.make_node("Reshape", ["cut", "shape"], ["state"]),
        ],
        "growing width": [one, helper.make_node("Concat", ["column", "column"], ["state"], axis=1)],
        "more frames than samples": [
            helper.make_node("Concat", ["input", "input"], ["twice"], axis=1),
            helper.make_node("Unsqueeze", ["twice", "last"], ["state"]),
        ],
        "one frame": [helper.make_node("Unsqueeze", ["input", "axis"], ["state"])],
        "two axes": [helper.make_node("Identity", ["input"], ["state"])],
        "a list": [helper.make_node("SplitToSequence", ["input"], ["state"], axis=1)],
    }[how]
    constants = [
        constant("axis", 1),
        constant("zero", 0),
        constant("last", 2),
        constant("length", 800),
        constant("shape", 1, 100, 8),
    ]
    inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", samples])]
    outputs = [helper.make_tensor_value_info("state", TensorProto.FLOAT, None)]
    if how == "a list":
        outputs = [helper.make_tensor_sequence_value_info("state", TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "odd", inputs, outputs, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), tmp_path / "m.onnx")
    for layer in (None, "state"):
        with pytest.raises(EncoderError, match=problem) as caught:
            describe_encoder(str(tmp_path / "m.onnx"), layer)
        assert str(tmp_path / "m.onnx") in str(caught.value)


@pytest.mark.parametrize(
    ("content", "scaling", "padding", "assumed"),
    [
        (None, "none", "back", "unscaled samples, zeros at the back"),
        ({"do_normalize": True}, "zero mean, unit variance", "back", "zeros at the back"),
        ({"padding_side": "left"}, "none", "front", "unscaled samples"),
        ({"do_normalize": False, "padding_side": "right", "sampling_rate": 16_000}, "none", "back", None),
        ({"do_normalize": True, "padding_side": "left"}, "zero mean, unit variance", "front", None),
    ],
)
def test_a_file_beside_a_graph_says_how_its_input_is_prepared(
    tmp_path: Path, content: Any, scaling: str, padding: str, assumed: str | None
) -> None:
    path = write_onnx(tmp_path / "m.onnx")
    plain = describe_encoder(str(path), "1")
    if content is not None:
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(content))
    features = describe_encoder(str(path), "1")
    assert (features.scaling, features.padding) == (scaling, padding)
    assert (features.name == plain.name) == ((scaling, padding) == ("none", "back"))
    warning = describe_assumptions(features)
    assert (warning is None) if assumed is None else (assumed in str(warning))
    expected, _ = replace(plain, scaling=scaling, padding=padding, location=str(path)).transform(noise(0.3))
    assert features.transform(noise(0.3))[0].tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "not valid JSON"),
        ("[]", "not a JSON object"),
        ('{"do_normalize": 1}', "do_normalize is 1"),
        ('{"padding_side": "both"}', '"left" or "right"'),
        ('{"sampling_rate": 8000}', "sampling_rate is 8000"),
        ('{"hop_length": 320}', "hop_length is 320"),
    ],
)
def test_an_unusable_description_of_the_input_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    path = write_onnx(tmp_path / "m.onnx")
    (tmp_path / "preprocessor_config.json").write_text(text)
    with pytest.raises(EncoderError, match=problem) as caught:
        describe_encoder(str(path))
    assert "preprocessor_config.json" in str(caught.value)


def test_nothing_is_assumed_of_known_encoders_and_of_folders(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert describe_assumptions(describe_encoder(str(models["whisper"]))) is None
    path = write_onnx(tmp_path / "m.onnx")
    features = describe_encoder(str(path), "1")
    row = replace(known.KNOWN_ENCODERS["smart-turn-v3.2"], sha256=features.encoder_sha256)
    monkeypatch.setattr(known, "_ENCODERS", (row,))
    (tmp_path / "preprocessor_config.json").write_text('{"padding_side": "right"}')  # the table comes first
    features = describe_encoder(str(path), "1")
    assert (features.scaling, features.padding) == ("zero mean, unit variance", "front")
    assert describe_assumptions(features) is None


def test_a_missing_known_encoder_has_an_address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    row = known.KNOWN_ENCODERS["smart-turn-v3.2"]
    monkeypatch.setenv("EMODNA_ENCODERS", str(tmp_path / "none"))
    features = EncoderSet(encoder=row.name, encoder_sha256=str(row.sha256), layers="3", width=384)
    for attempt in (features.find_weights, lambda: describe_encoder(row.name)):
        with pytest.raises(EncoderError) as caught:
            attempt()
        assert f"https://huggingface.co/{row.hub}" in str(caught.value)
        assert f"{tmp_path / 'none'}, which is not a folder" in str(caught.value)


def test_a_number_is_an_index_though_an_output_has_that_name(models: dict[str, Path], tmp_path: Path) -> None:
    """Programs that write ONNX files number the outputs of nodes."""
    import onnx

    model = onnx.load(models["fixed"])
    names = {"second": "0", "bent": "7"}
    for node in model.graph.node:
        for each in (node.input, node.output):
            each[:] = [names.get(name, name) for name in each]
    onnx.save(model, tmp_path / "fixed.onnx")
    expected, _ = describe_encoder(str(models["fixed"]), "0").transform(noise(0.5))
    assert np.array_equal(describe_encoder(str(tmp_path / "fixed.onnx"), "0").transform(noise(0.5))[0], expected)
    with pytest.raises(EncoderError) as caught:
        describe_encoder(str(tmp_path / "fixed.onnx"), "7")
    assert caught.value.valid == ("0", "1")


@pytest.mark.parametrize("kind", EACH_KIND)
def test_hidden_states_equal_those_of_the_whole_model(models: dict[str, Path], kind: str) -> None:
    """Blocks after the last chosen state are cut off, with the normalisation that follows them."""
    import torch

    model = transformers.AutoModel.from_pretrained(models[kind], dtype="float32").eval()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(models[kind])
    samples = noise(1.1)
    with torch.inference_mode():
        if kind == "whisper":
            inputs, centre = extractor(samples, sampling_rate=16_000, return_tensors="pt").input_features, 0
            states = model.encoder(inputs, output_hidden_states=True).hidden_states
        else:
            inputs, centre = extractor(samples, sampling_rate=16_000, return_tensors="pt").input_values, 200
            states = model(inputs, output_hidden_states=True).hidden_states
    for layers in ("0", "2,1", "3"):
        features = describe_encoder(str(models[kind]), layers)
        hidden = np.concatenate([states[int(layer)][0].numpy() for layer in layers.split(",")], axis=1)
        expected = average_slowly(hidden, np.arange(len(hidden)) * 320 + centre, len(samples))
        np.testing.assert_allclose(features.transform(samples)[0], expected, atol=2e-4)
        assert features.dim == expected.shape[1] == WIDTH * len(layers.split(","))


def test_a_state_has_the_same_name_by_index_and_by_name(models: dict[str, Path]) -> None:
    by_index, by_name = (describe_encoder(str(models["fixed"]), layers) for layers in ("0,1", "first, second"))
    assert by_index == by_name
    assert by_index.name.startswith("encoder-fixed-l0.1-25hz-")
    other = describe_encoder(str(models["fixed"]), "1, bent")
    assert other.layers == "1,bent"
    assert other.name != by_index.name


@pytest.mark.parametrize("kind", ["fixed", "any", "fixed wave", "wave", *EACH_KIND])
def test_a_set_is_rebuilt_without_its_weights(
    models: dict[str, Path], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = describe_encoder(str(models[kind]))
    monkeypatch.setattr("emodna.pipeline.features.encoder.find_weights", None)
    rebuilt = rebuild_feature_set(json.loads(json.dumps(original.parameters())))
    assert rebuilt == original
    assert (rebuilt.name, rebuilt.dim, rebuilt.hop_length) == (original.name, original.dim, HOP)


def test_weights_are_found_by_their_hash(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = describe_encoder(str(models["fixed"]), "0")
    samples = noise(0.5)
    expected, _ = features.transform(samples)
    other = write_onnx(tmp_path / "fixed.onnx", seed=1)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    moved = tmp_path / "deep" / "er" / "renamed.onnx"
    for location in (None, str(tmp_path / "gone.onnx"), str(other)):
        elsewhere = replace(features, location=location, overlap=0)  # another set, so that it is loaded again
        monkeypatch.setenv("EMODNA_ENCODERS", "")
        with pytest.raises(EncoderError, match=features.encoder_sha256):
            elsewhere.check_requirements()
        moved.write_bytes(models["fixed"].read_bytes())
        monkeypatch.setenv("EMODNA_ENCODERS", os.pathsep.join(["", str(tmp_path / "none"), str(tmp_path)]))
        found, _ = elsewhere.transform(samples)
        assert found.tobytes() == expected.tobytes()
        moved.unlink()
        _forget_loaded()


def test_a_folder_is_found_only_with_the_same_description(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its JSON files say how the input is prepared."""
    features = replace(describe_encoder(str(models["wavlm"]), "1"), location=None)
    copy = tmp_path / "copy"
    copy.mkdir()
    for each in models["wavlm"].iterdir():
        (copy / each.name).write_bytes(each.read_bytes())
    monkeypatch.setenv("EMODNA_ENCODERS", str(tmp_path))
    features.check_requirements()
    _forget_loaded()
    file = copy / "preprocessor_config.json"
    file.write_text(file.read_text().replace('"do_normalize": true', '"do_normalize": false'))
    with pytest.raises(EncoderError, match=features.encoder_sha256):
        features.check_requirements()
    assert describe_encoder(str(copy), "1").scaling == "none"


@pytest.mark.parametrize("kind", ["any", "wavlm"])
@pytest.mark.parametrize(
    "history", ["one thread", "three threads", "two steps", pytest.param("processes", marks=pytest.mark.slow)]
)
def test_workers_and_history_do_not_change_a_store(
    models: dict[str, Path], tmp_path: Path, kind: str, history: str, expected_content: dict[str, dict[str, str]]
) -> None:
    features, names = describe_encoder(str(models[kind])), make_emodb_names(9)
    workers: Any = {"one thread": 1, "processes": make_process_factory(2)}.get(history, 3)
    for step in (names[::2], names) if history == "two steps" else (names,):
        write_tiny_emodb(tmp_path, step)
        report = prepare_corpus(tmp_path, tmp_path / "cache", features=features, workers=workers)
    assert expected_content.setdefault(kind, content(report.store)) == content(report.store)
    store = FeatureStore(report.store)
    assert store.verify() == []
    assert (store.dim, store[0].dtype) == (WIDTH, np.float32)
    assert store.snapshot.location == str(models[kind])


@pytest.fixture(scope="module")
def expected_content() -> dict[str, dict[str, str]]:
    """Return the content of the first store of each kind of encoder, which all others must have."""
    return {}


def _forget_loaded() -> None:
    from emodna.pipeline.features import encoder

    encoder._load.cache_clear()


def break_encoder(folder: Path, models: dict[str, Path], how: str) -> Path:
    """Write an encoder that cannot be used, and return its path."""
    target = folder / "broken"
    if how in ("text", "empty"):
        target = folder / "broken.onnx"
        target.write_bytes(b"text" * 100 if how == "text" else b"")
    elif how in ("two inputs", "no states"):
        target = write_onnx(folder / "broken.onnx", extra_input=how == "two inputs")
    elif how == "a graph in a folder":
        target.mkdir()
        write_onnx(target / "m.onnx")
    elif how == "another suffix":
        target.write_bytes(models["fixed"].read_bytes())
    else:
        target.mkdir()
        for each in models["wavlm"].iterdir():
            (target / each.name).write_bytes(each.read_bytes())
        config = target / "config.json"
        if how == "pickle":
            (target / "model.safetensors").rename(target / "pytorch_model.bin")
        elif how == "no preprocessor":
            (target / "preprocessor_config.json").unlink()
        elif how == "another rate":
            file = target / "preprocessor_config.json"
            file.write_text(file.read_text().replace("16000", "8000"))
        elif how == "another type":
            config.write_text(json.dumps({**json.loads(config.read_text()), "model_type": "bert"}))
        elif how == "code":
            changed = {"auto_map": {"AutoConfig": "evil.Config"}, "model_type": "evil"}
            config.write_text(json.dumps({**json.loads(config.read_text()), **changed}))
        elif how == "missing weights":
            from safetensors.numpy import load_file, save_file

            weights = load_file(target / "model.safetensors")
            del weights["encoder.layers.1.attention.k_proj.weight"]
            save_file(weights, target / "model.safetensors", {"format": "pt"})
        elif how == "cut weights":
            content = (target / "model.safetensors").read_bytes()
            (target / "model.safetensors").write_bytes(content[: len(content) // 2])
    return target


@pytest.mark.parametrize(
    ("how", "problem"),
    [
        ("text", "not an ONNX file"),
        ("empty", "not an ONNX file"),
        ("two inputs", "its inputs are"),
        ("another suffix", "not an encoder"),
        ("a graph in a folder", "give the file itself: .*m.onnx"),
        ("pickle", "pickle"),
        ("no preprocessor", "preprocessor_config"),
        ("another rate", "8000 Hz"),
        ("another type", "bert"),
        ("code", "config.json"),
        ("missing weights", "lacks 1 weights"),
        ("cut weights", "cannot be loaded"),
    ],
)
def test_an_unusable_encoder_is_refused_with_its_place(
    models: dict[str, Path], tmp_path: Path, how: str, problem: str
) -> None:
    path = break_encoder(tmp_path, models, how)
    with pytest.raises(EncoderError, match=problem) as caught:
        describe_encoder(str(path)).check_requirements()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["fixed", "whisper"])
@pytest.mark.parametrize("layers", ["7", "-1", "", "0,0", "input", "mean", "result", "nothing"])
def test_another_hidden_state_is_refused_with_the_valid_ones(models: dict[str, Path], kind: str, layers: str) -> None:
    with pytest.raises(EncoderError) as caught:
        describe_encoder(str(models[kind]), layers)
    assert caught.value.field == "layer"
    assert layers == "0,0" or {"0", "1"} <= set(caught.value.valid)


def test_weights_in_the_cache_of_the_hub_are_found_without_asking_it(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(_repository: str, *, local_files_only: bool = False, **_options: object) -> str:
        assert local_files_only
        return str(models["wavlm"])

    features = replace(describe_encoder(str(models["wavlm"]), "1"), location=f"a/b@{'0' * 40}")
    monkeypatch.setattr("huggingface_hub.snapshot_download", find)
    assert features.find_weights() == models["wavlm"]


@pytest.mark.parametrize("reason", [OSError("no route"), RuntimeError("an error of the HTTP client")])
def test_a_failure_of_the_hub_is_one_line(reason: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise reason

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(EncoderError, match=f"cannot be fetched: {reason}"):
        describe_encoder(f"a/b@{'0' * 40}")


@pytest.mark.parametrize(
    ("encoder", "valid"), [("nothing.onnx", "whisper-tiny"), ("openai/whisper-tiny", ""), ("a/b@main", "")]
)
def test_an_encoder_that_is_not_there_is_refused(encoder: str, valid: str) -> None:
    with pytest.raises(EncoderError) as caught:
        describe_encoder(encoder)
    assert (caught.value.field, caught.value.value) == ("encoder", encoder)
    assert not valid or valid in caught.value.valid


def test_options_of_encoders_need_the_feature_set() -> None:
    for options, field in (({"encoder": "x"}, "encoder"), ({"layer": "1"}, "layer")):
        with pytest.raises(EmodnaError) as caught:
            make_feature_set("mfcc40", **options)  # type: ignore[arg-type]
        assert caught.value.field == field
    with pytest.raises(EmodnaError, match="needs an encoder"):
        make_feature_set("encoder")


def test_missing_packages_are_named(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    for kind in ("fixed", "whisper"):
        with pytest.raises(EncoderError, match=r"emodna\[encoders\]"):
            describe_encoder(str(models[kind]))


def test_audio_that_is_too_short_is_rejected(models: dict[str, Path]) -> None:
    features = describe_encoder(str(models["wave"]))
    assert isinstance(features, EncoderSet)
    assert features.extract(noise(0.025))[0].shape == (1, WIDTH)
    with pytest.raises(AudioError, match="at least 400"):
        features.extract(noise(0.025)[:-1])
