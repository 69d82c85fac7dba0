"""TensorBoard events: what metrics.jsonl says, read back by TensorBoard's own reader."""

import errno
import importlib.util
import itertools
import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata
from tensorboard.summary.writer.record_writer import RecordWriter

from tests.model.small import InterruptAt, Interruption, SilentCallback, Stores, fit_small, read_log

EVERY_STEP = {"checkpoint_seconds": "0"}


def events(run: Path) -> EventAccumulator:
    return EventAccumulator(str(run), size_guidance={"scalars": 0, "tensors": 0}).Reload()


def scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    found = events(run)
    return {tag: [(each.step, each.value) for each in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def files(run: Path) -> list[Path]:
    return sorted(run.glob("events.out.tfevents.*"))


def assert_say_what_the_log_says(run: Path) -> None:
    found = {tag: points for tag, points in scalars(run).items() if not tag.startswith("score/")}
    lines = read_log(run)
    assert set(found) == set(lines[0]) - {"step"}
    for name, points in found.items():
        assert [step for step, _ in points] == [line["step"] for line in lines]
        assert [value for _, value in points] == pytest.approx([line[name] for line in lines], rel=1e-6)


def test_say_what_the_log_says(trained_run: Path) -> None:
    assert_say_what_the_log_says(trained_run)


def test_have_the_scores_and_the_settings(trained_run: Path) -> None:
    result = json.loads((trained_run / "result.json").read_text())
    found = scalars(trained_run)
    for name in ("uar", "war", "f1", "macro_f1"):
        assert found[f"score/{name}"] == [(20, pytest.approx(result[name]))]
    text = events(trained_run).Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert json.loads(text.strip("`\n")) == json.loads((trained_run / "config.json").read_text())
    content = events(trained_run).summary_metadata[metadata.SESSION_START_INFO_TAG].plugin_data.content
    settings = metadata.parse_session_start_info_plugin_data(content).hparams
    assert settings["method"].string_value == "emo-dna"
    assert settings["batch_size"].number_value == 8


def test_of_a_resumed_run_have_each_step_once(pair: Stores, tmp_path: Path) -> None:
    run = tmp_path / "run"
    # Logged up to step 3; the checkpoint is one of an earlier step.
    with pytest.raises(Interruption):
        fit_small(*pair, run, callback=InterruptAt(3), settings=EVERY_STEP)
    assert [step for step, _ in scalars(run)["total"]] == [1, 2, 3]
    time.sleep(1)  # TensorBoard reads the files in the order of their names, which tell the second
    fit_small(*pair, run, resume=True, settings=EVERY_STEP)
    assert len(files(run)) == 2
    assert_say_what_the_log_says(run)


def test_are_left_out_without_tensorboard(pair: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tensorboard" else find(name))
    fit_small(*pair, tmp_path / "run", steps=1)
    assert files(tmp_path / "run") == []
    assert (tmp_path / "run" / "done").exists()


def test_are_no_part_of_what_decides_a_run(pair: Stores, tmp_path: Path) -> None:
    for name in ("on", "off"):
        fit_small(*pair, tmp_path / name, settings={"tensorboard": str(name == "on").lower()})
    assert files(tmp_path / "off") == []
    for file in ("model.safetensors", "metrics.jsonl", "predictions.parquet", "config.json"):
        assert (tmp_path / "on" / file).read_bytes() == (tmp_path / "off" / file).read_bytes()
    with pytest.raises(Interruption):
        fit_small(*pair, tmp_path / "run", callback=InterruptAt(2), settings=EVERY_STEP)
    fit_small(*pair, tmp_path / "run", resume=True, settings={**EVERY_STEP, "tensorboard": "false"})
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == (tmp_path / "on" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("after", [0, 7])
def test_that_cannot_be_written_cost_a_warning_and_no_run(
    after: int, pair: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write, writes = RecordWriter.write, itertools.count()

    def fill_up(writer: RecordWriter, data: bytes) -> None:
        if next(writes) >= after:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(writer, data)

    monkeypatch.setattr(RecordWriter, "write", fill_up)
    with caplog.at_level(logging.WARNING, "emodna"):
        fit_small(*pair, tmp_path / "run")
    (record,) = caplog.records
    assert "No space left on device" in record.getMessage()
    assert str(tmp_path / "run") in record.getMessage()
    assert (tmp_path / "run" / "done").exists()
    assert [line["step"] for line in read_log(tmp_path / "run")] == [1, 2, 3, 4]


def test_are_there_while_the_run_is_at_work(pair: Stores, tmp_path: Path) -> None:
    seen = []

    class Looks(SilentCallback):
        def on_log(self, step: int, values: Mapping[str, float]) -> None:  # noqa: ARG002
            seen.append([each for each, _ in scalars(tmp_path / "run").get("total", [])])

    fit_small(*pair, tmp_path / "run", steps=2, callback=Looks())
    assert seen == [[1], [1, 2]]
