"""Errors in the words of the command line."""

import dataclasses
import shlex
import typing
from pathlib import Path
from typing import Any

import click
import pytest

from emodna.cli.options import Command, CommandError
from emodna.cli.wording import word_action
from emodna.pipeline.catalogue import find_stores
from emodna.pipeline.errors import Action, EmodnaError, PrepareCorpus, Remedy, StoreError
from emodna.pipeline.features import EncoderSet, FeatureSet, ImportedSet, LogMelSet, MfccSet
from emodna.pipeline.store.layout import FORMAT, FORMAT_VERSION, STORE_JSON
from emodna.pipeline.store.snapshot import compute_checksum, encode_document
from tests.cli.programs import PROGRAMS, parse

#: Values of the fields of an action, by name or else by type.
VALUES: dict[object, Any] = {
    "feature_set": "mfcc39",
    "parameters": MfccSet(n_mfcc=39, trim_db=20.0).parameters(),
    "location": None,
    Path: Path("a folder"),
    str: "emodb",
    int: 3,
    float: 4000.0,
    bool: True,
}


def word(error: EmodnaError, *, settings: bool = True) -> str:
    """Return the message of a command that raises an error."""

    @click.command(cls=Command)
    @click.argument("run")
    @click.option("--src", "-s", "sources", multiple=True)
    @click.option("--resume", is_flag=True)
    def command(**_: object) -> None:
        raise error

    if settings:
        command.params.append(click.Option(["--set", "settings"], multiple=True))
    with pytest.raises(CommandError) as caught:
        command.main(["folder"], standalone_mode=False)
    return caught.value.message


def make_action(kind: type[Action]) -> Action:
    values = {}
    for name, hint in typing.get_type_hints(kind).items():
        (first, *_) = typing.get_args(hint) or (hint,)
        values[name] = VALUES[name if name in VALUES else first]
    return kind(**values)


def list_actions(kind: type[Action] = Action) -> list[type[Action]]:
    return [found for each in kind.__subclasses__() for found in (each, *list_actions(each))]


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("sources", "emodb", "--src emodb: unknown"),
        ("sources", None, "--src: unknown"),
        ("resume", True, "--resume: unknown"),
        ("run", Path("runs/a b"), "RUN runs/a b: unknown"),
        ("frames", 3, "--set frames=3: unknown"),
        ("frames", None, "--set frames: unknown"),
    ],
)
def test_a_parameter_becomes_an_option_an_argument_or_a_setting(field: str, value: object, expected: str) -> None:
    assert word(EmodnaError("unknown", field=field, value=value)) == expected


def test_a_parameter_that_the_command_lacks_keeps_its_name() -> None:
    assert word(EmodnaError("unknown", field="frames", value=3), settings=False) == "frames 3: unknown"


def test_an_error_names_place_problem_guess_valid_values_and_remedy_in_this_order() -> None:
    error = EmodnaError(
        "unknown", where="a.toml", field="sources", value="emodbb", valid=["emodb", "ravdess"], remedy="choose another"
    )
    expected = "a.toml: --src emodbb: unknown; did you mean emodb? valid: emodb, ravdess; choose another"
    assert word(error) == expected
    assert str(error) == expected.replace("--src emodbb", "sources=emodbb")


def test_the_guess_of_a_valid_value_ignores_case() -> None:
    assert str(EmodnaError("unknown", where="03A01fa", valid=["03a01Fa"])) == (
        "03A01fa: unknown; did you mean 03a01Fa? valid: 03a01Fa"
    )


def test_names_in_a_remedy_become_options() -> None:
    error = EmodnaError("not empty", remedy=Remedy("set {resume=True}, choose another {sources} or {frames=3}"))
    assert word(error) == "not empty; set --resume, choose another --src or --set frames=3"
    assert str(error) == "not empty; set resume=True, choose another sources or frames=3"


def test_braces_in_file_names_survive() -> None:
    error = EmodnaError("damaged: {x}", where=Path("{run}/a{}"), field="sources", value="{resume=True}")
    assert word(error) == "{run}/a{}: --src {resume=True}: damaged: {x}"


def test_a_remedy_ends_with_the_command_of_its_action() -> None:
    error = EmodnaError("damaged", remedy=Remedy("prepare it again", PrepareCorpus("emodb", Path("a b"), reread=True)))
    assert word(error) == "damaged; prepare it again: emodna-prep --corpus emodb --rehash --cache 'a b'"
    assert str(error) == "damaged; prepare it again"


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (PrepareCorpus("ravdess-4000hz"), "--corpus ravdess --bandwidth 4000"),
        (PrepareCorpus("iemocap-all-channel1-500hz"), "--corpus iemocap --subset all --channel 1 --bandwidth 500"),
        (
            PrepareCorpus("calls-channel1-500hz"),
            "--manifest TABLE --name calls-channel1-500hz --channel 1 --bandwidth 500",
        ),
        (PrepareCorpus("ravdess-channel2", channel=1, bandwidth=800.0), "--corpus ravdess --channel 2"),
        (
            PrepareCorpus("calls", channel=1, bandwidth=800.0),
            "--manifest TABLE --name calls --channel 1 --bandwidth 800",
        ),
        (PrepareCorpus("tones-440hz"), "--manifest TABLE --name tones-440hz"),
    ],
    ids=str,
)
def test_channel_and_bandwidth_of_a_store_are_options(action: PrepareCorpus, expected: str) -> None:
    assert word_action(action) == f"emodna-prep {expected}"


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        (MfccSet(fixed_samples=96_000), "--fixed-samples 96000"),
        (LogMelSet(trim_db=25.0), "--feature-set logmel --trim 25"),
        (MfccSet(n_mfcc=20), None),
        (ImportedSet(embeddings="e", width=3, location="my emb.npz"), "--features-from 'my emb.npz'"),
        (ImportedSet(embeddings="e", width=3), None),
        (
            EncoderSet(encoder="tiny", layers="1,2", width=4, trim_db=None, location="/e/tiny.onnx"),
            "--feature-set encoder --encoder /e/tiny.onnx --layer 1,2 --trim none",
        ),
        (EncoderSet(encoder="tiny", layers="1", width=4), "--feature-set encoder --encoder tiny --layer 1"),
    ],
    ids=str,
)
def test_parameters_of_features_are_options(features: FeatureSet, expected: str | None) -> None:
    action = PrepareCorpus("emodb", None, features.name, parameters=features.parameters(), location=features.location)
    command = word_action(action)
    assert command == (None if expected is None else f"emodna-prep --corpus emodb {expected}")
    if command is not None:
        parse(shlex.split(command))


def test_features_that_another_corpus_has_are_prepared_alike(tmp_path: Path) -> None:
    features = ImportedSet(embeddings="e", width=3, location="e.npz")
    write_snapshot(tmp_path / "ravdess" / features.name, features)
    for name in ("imported", features.name):
        with pytest.raises(StoreError) as caught:
            find_stores(tmp_path, ["ravdess", "emodb"], name)
        assert isinstance(caught.value.remedy, Remedy)
        command = word_action(caught.value.remedy.action)
        assert command == f"emodna-prep --corpus emodb --features-from e.npz --cache {tmp_path}"


def write_snapshot(store: Path, features: FeatureSet) -> None:
    """Write the store.json of an empty store."""
    content = {
        **dict.fromkeys(("root", "licence", "citation", "fingerprint", "created"), ""),
        **{name: {} for name in ("libraries", "counts")},
        "corpus": store.parent.name,
        "feature_set": features.name,
        "parameters": features.parameters(),
        "location": features.location,
        "files": [],
        "format": FORMAT,
        "version": FORMAT_VERSION,
    }
    store.mkdir(parents=True)
    (store / STORE_JSON).write_bytes(encode_document(content | {"checksum": compute_checksum(content)}))


@pytest.mark.parametrize("kind", list_actions(), ids=lambda kind: kind.__name__)
def test_every_action_becomes_a_command_that_can_be_parsed(kind: type[Action]) -> None:
    assert dataclasses.is_dataclass(kind)
    command = word_action(make_action(kind))
    assert command is not None
    words = shlex.split(command)
    if words[:2] != ["dask", "worker"]:
        parse(words)


def test_an_error_of_a_configuration_file_is_worded(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("stepz = 3\n")
    with pytest.raises(CommandError, match=r"^--config .*a\.toml: unknown key stepz; valid: .*steps.*"):
        PROGRAMS["emodna-fit"].main(["--config", str(tmp_path / "a.toml")], standalone_mode=False)
