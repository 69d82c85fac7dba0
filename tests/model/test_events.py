"""TensorBoard events equal metrics.jsonl when TensorBoard reads them."""

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


def assert_events_equal_log(run: Path) -> None:
    found = {tag: points for tag, points in scalars(run).items() if not tag.startswith("score/")}
    lines = read_log(run)
    assert set(found) == set(lines[0]) - {"step"}
    for name, points in found.items():
        assert [step for step, _ in points] == [line["step"] for line in lines]
        assert [value for _, value in points] == pytest.approx([line[name] for line in lines], rel=1e-6)


def test_events_equal_the_log(trained_run: Path) -> None:
    assert_events_equal_log(trained_run)


def test_events_contain_the_scores_and_the_settings(trained_run: Path) -> None:
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


def test_events_of_a_resumed_run_contain_each_step_once(pair: Stores, tmp_path: Path) -> None:
    run = tmp_path / "run"
    # The log has steps 1 to 3; the checkpoint is of an earlier step.
    with pytest.raises(Interruption):
        fit_small(*pair, run, callback=InterruptAt(3), settings=EVERY_STEP)
    assert [step for step, _ in scalars(run)["total"]] == [1, 2, 3]
    time.sleep(1)  # TensorBoard orders files by the second in their names
    fit_small(*pair, run, resume=True, settings=EVERY_STEP)
    assert len(files(run)) == 2
    assert_events_equal_log(run)


def test_runs_need_no_tensorboard(pair: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tensorboard" else find(name))
    fit_small(*pair, tmp_path / "run", steps=1)
    assert files(tmp_path / "run") == []
    assert (tmp_path / "run" / "done").exists()


def test_events_do_not_change_the_run(pair: Stores, tmp_path: Path) -> None:
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
def test_events_that_cannot_be_written_are_a_warning(
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


def test_events_are_readable_during_training(pair: Stores, tmp_path: Path) -> None:
    seen = []

    class EventReader(SilentCallback):
        def on_log(self, step: int, values: Mapping[str, float]) -> None:  # noqa: ARG002
            seen.append([each for each, _ in scalars(tmp_path / "run").get("total", [])])

    fit_small(*pair, tmp_path / "run", steps=2, callback=EventReader())
    assert seen == [[1], [1, 2]]
