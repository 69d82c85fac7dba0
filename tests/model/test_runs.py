"""Runs on disk: finished, running, interrupted or damaged."""

import json
import shutil
from pathlib import Path

import filelock
import pytest

from emodna.model.errors import RunError
from emodna.model.metrics import SCORE_NAMES
from emodna.model.run_folder import RunFolder
from emodna.model.runs.compare import compare_pairs, find_differences, summarise_seeds
from emodna.model.runs.listing import find_changed_settings, find_runs, find_training_store, open_run, read_curves
from emodna.pipeline.store import FeatureStore
from tests.model.small import InterruptAt, Interruption, fit_small


@pytest.fixture(scope="module")
def interrupted(source: FeatureStore, target: FeatureStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run that was interrupted in step 4 of 9, with a checkpoint of step 3."""
    run = tmp_path_factory.mktemp("interrupted") / "run"
    with pytest.raises(Interruption):
        fit_small(source, target, run, steps=9, callback=InterruptAt(4), settings={"checkpoint_seconds": "0"})
    return run


@pytest.fixture
def copy(trained_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained_run, tmp_path / "copy"))


class TestStates:
    def test_finished_run_has_its_result(self, trained_run: Path) -> None:
        run = open_run(trained_run)
        result = json.loads((trained_run / "result.json").read_text())
        assert (run.state, run.problem, run.step) == ("done", None, 20)
        assert run.identity == {key: result[key] for key in ("src", "tgt", "task", "method", "seed", "steps")}
        assert run.scores == {key: result[key] for key in SCORE_NAMES}
        assert run.best_constant == {key: max(each[key] for each in result["constant"].values()) for key in SCORE_NAMES}
        assert run.bytes == sum(file.stat().st_size for file in trained_run.iterdir())

    def test_interrupted_run_has_the_step_of_its_checkpoint(self, interrupted: Path) -> None:
        run = open_run(interrupted)
        assert (run.state, run.step, run.scores["uar"], run.best_constant["uar"]) == ("interrupted", 3, None, None)
        assert read_curves(run)["total"][-1][0] == 4

    def test_running_run_has_the_last_logged_step(self, interrupted: Path) -> None:
        with filelock.FileLock(RunFolder(interrupted).lock):
            run = open_run(interrupted)
            assert (run.state, run.step) == ("running", 4)
        assert open_run(interrupted).state == "interrupted"

    @pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"decisive": {"src": "a"}, "constant": {}}'])
    @pytest.mark.parametrize("name", ["config.json", "result.json"])
    def test_damaged_run_names_the_file(self, name: str, content: str, trained_run: Path, copy: Path) -> None:
        (copy / name).write_text(content)
        run = open_run(copy)
        assert run.state == "damaged"
        assert f"{copy / name}: damaged" in str(run.problem)
        # The rest can be read.
        whole = open_run(trained_run)
        assert read_curves(run) == read_curves(whole)
        assert set(run.scores.values()) == {None}
        assert summarise_seeds([run, whole]) == []
        assert "not finished" in str(compare_pairs([run, whole])[0, 1].problem)
        assert (find_differences([run, whole]) == {}) == (name == "result.json")
        assert [find_training_store(run, corpus).state for corpus in run.corpora] == ["same"] * len(run.corpora)

    def test_damaged_checkpoint_is_named(self, interrupted: Path, tmp_path: Path) -> None:
        run = Path(shutil.copytree(interrupted, tmp_path / "run"))
        for content in (b"", b"dear diary", bytes(100)):
            (run / "resume.safetensors").write_bytes(content)
            assert "resume.safetensors: damaged" in str(open_run(run).problem)
        (run / "resume.safetensors").unlink()  # killed before its first checkpoint
        assert (open_run(run).state, open_run(run).step) == ("interrupted", 0)


class TestFind:
    def test_runs_are_found_at_any_depth_in_order(self, trained_run: Path, tmp_path: Path) -> None:
        for place in ("b", "a/deep/er", "c"):
            shutil.copytree(trained_run, tmp_path / place)
        (tmp_path / "c" / "config.json").write_text("{")
        (tmp_path / "a" / "model").mkdir()
        (tmp_path / "a" / "model" / "config.json").write_text('{"architectures": ["Wav2Vec2"]}')  # not a run
        (tmp_path / "a" / "model" / "model.safetensors").write_bytes(b"")
        (tmp_path / "a" / "config.json").write_text("{")
        (tmp_path / "a" / "loop").symlink_to(tmp_path)
        found = {str(run.folder.path.relative_to(tmp_path)): run.state for run in find_runs([tmp_path])}
        assert found == {"a/deep/er": "done", "b": "done", "c": "damaged"}
        assert list(found) == sorted(found)

    def test_missing_folders_and_folders_without_run_are_errors(self, tmp_path: Path) -> None:
        with pytest.raises(RunError) as caught:
            list(find_runs([tmp_path / "nowhere"]))
        assert caught.value.where == tmp_path / "nowhere"
        for path in (tmp_path, tmp_path / "nowhere"):
            with pytest.raises(RunError) as caught:
                open_run(path)
            assert caught.value.where == path


class TestContent:
    def test_changed_settings_are_found(self, trained_run: Path) -> None:
        assert find_changed_settings(open_run(trained_run)) == {
            "train.batch_size": (8, 64),
            "train.frames": (32, 188),
            "train.log_every": (1, 10),
            "method_config.channels": (8, 64),
        }

    def test_unreadable_lines_are_left_out_of_curves(self, copy: Path) -> None:
        with (copy / "metrics.jsonl").open("a") as file:
            file.write('{"step": 21, "total": null}\n{"step": 22, "total": 3}\n{"st')
        found = read_curves(open_run(copy))["total"]
        assert (found[-2][0], found[-1]) == (20, (22, 3.0))

    def test_stores_of_a_run_have_a_state(self, copy: Path, source: FeatureStore, tmp_path: Path) -> None:
        run = open_run(copy)
        assert run.corpora == ["ravdess", "emodb"]
        assert {find_training_store(run, corpus).state for corpus in run.corpora} == {"same"}
        (tmp_path / "bad").mkdir()
        (tmp_path / "bad" / "store.json").write_text("{")
        config = json.loads((copy / "config.json").read_text())
        for path, state in (
            (str(source.path), "changed"),
            (str(tmp_path / "gone"), "gone"),
            (None, "not known"),
            (str(tmp_path / "bad"), "damaged"),
        ):
            config["stores"]["emodb"] = path
            (copy / "config.json").write_text(json.dumps(config))
            assert find_training_store(open_run(copy), "emodb").state == state
