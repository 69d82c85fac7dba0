"""Runs as they are found on disk: finished, at work, interrupted, damaged, or no runs at all."""

import json
import shutil
from pathlib import Path

import filelock
import pytest

from emodna.model.errors import RunError
from emodna.model.metrics import SCORE_NAMES
from emodna.model.run_folder import RunFolder
from emodna.model.runs.compare import compare_pairs, find_differences, summarise_seeds
from emodna.model.runs.listing import Run, find_changed_settings, find_runs, find_training_store, open_run, read_curves
from emodna.pipeline.store import FeatureStore
from tests.model.small import InterruptAt, Interruption, fit_small


@pytest.fixture(scope="module")
def interrupted_run(source: FeatureStore, target: FeatureStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stopped in step 4 of 9; its checkpoint is of step 3."""
    run = tmp_path_factory.mktemp("interrupted") / "run"
    with pytest.raises(Interruption):
        fit_small(source, target, run, steps=9, callback=InterruptAt(4), settings={"checkpoint_seconds": "0"})
    return run


@pytest.fixture
def copy(trained_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be damaged."""
    return Path(shutil.copytree(trained_run, tmp_path / "copy"))


class TestStates:
    def test_of_a_finished_run(self, trained_run: Path) -> None:
        run = open_run(trained_run)
        result = json.loads((trained_run / "result.json").read_text())
        assert (run.state, run.problem, run.step) == ("done", None, 20)
        assert run.identity == {key: result[key] for key in ("src", "tgt", "task", "method", "seed", "steps")}
        assert run.scores == {key: result[key] for key in SCORE_NAMES}
        assert run.best_constant == {key: max(each[key] for each in result["constant"].values()) for key in SCORE_NAMES}
        assert run.bytes == sum(file.stat().st_size for file in trained_run.iterdir())

    def test_of_an_interrupted_run_say_what_its_checkpoint_holds(self, interrupted_run: Path) -> None:
        run = open_run(interrupted_run)
        assert (run.state, run.step, run.scores["uar"], run.best_constant["uar"]) == ("interrupted", 3, None, None)
        assert read_curves(run)["total"][-1][0] == 4

    def test_of_a_run_at_work_say_what_it_has_logged(self, interrupted_run: Path) -> None:
        with filelock.FileLock(RunFolder(interrupted_run).lock):
            run = open_run(interrupted_run)
            assert (run.state, run.step) == ("running", 4)
        assert open_run(interrupted_run).state == "interrupted"

    @pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"decisive": {"src": "a"}, "constant": {}}'])
    @pytest.mark.parametrize("name", ["config.json", "result.json"])
    def test_of_a_damaged_run_name_the_file(self, name: str, content: str, trained_run: Path, copy: Path) -> None:
        (copy / name).write_text(content)
        run = open_run(copy)
        assert run.state == "damaged"
        assert f"{copy / name}: damaged" in str(run.problem)
        # The rest can be read as that of any run.
        whole = open_run(trained_run)
        assert read_curves(run) == read_curves(whole)
        assert set(run.scores.values()) == {None}
        assert summarise_seeds([run, whole]) == []
        assert "not done" in str(compare_pairs([run, whole])[0, 1].problem)
        assert (find_differences([run, whole]) == {}) == (name == "result.json")
        assert [find_training_store(run, corpus).state for corpus in run.corpora] == ["same"] * len(run.corpora)

    def test_of_an_interrupted_run_depend_on_its_checkpoint(self, interrupted_run: Path, tmp_path: Path) -> None:
        run = Path(shutil.copytree(interrupted_run, tmp_path / "run"))
        for content in (b"", b"dear diary", bytes(100)):
            (run / "resume.safetensors").write_bytes(content)
            assert "resume.safetensors: damaged" in str(open_run(run).problem)
        (run / "resume.safetensors").unlink()  # killed before its first
        assert (open_run(run).state, open_run(run).step) == ("interrupted", 0)


class TestFind:
    def test_finds_runs_at_any_depth_in_order_and_passes_over_the_rest(self, trained_run: Path, tmp_path: Path) -> None:
        for place in ("b", "a/deep/er", "c"):
            shutil.copytree(trained_run, tmp_path / place)
        (tmp_path / "c" / "config.json").write_text("{")
        (tmp_path / "a" / "model").mkdir()
        (tmp_path / "a" / "model" / "config.json").write_text('{"architectures": ["Wav2Vec2"]}')  # somebody else's
        (tmp_path / "a" / "model" / "model.safetensors").write_bytes(b"")
        (tmp_path / "a" / "config.json").write_text("{")
        (tmp_path / "a" / "loop").symlink_to(tmp_path)
        found = {str(run.folder.path.relative_to(tmp_path)): run.state for run in find_runs([tmp_path])}
        assert found == {"a/deep/er": "done", "b": "done", "c": "damaged"}
        assert list(found) == sorted(found)

    def test_of_no_folder_and_opening_what_is_no_run_are_errors(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match="nowhere: no such folder"):
            list(find_runs([tmp_path / "nowhere"]))
        for place in (tmp_path, tmp_path / "nowhere"):
            with pytest.raises(RunError, match="not a run's folder"):
                open_run(place)


class TestContent:
    def test_settings_that_are_not_the_defaults(self, trained_run: Path) -> None:
        assert find_changed_settings(open_run(trained_run)) == {
            "train.batch_size": (8, 64),
            "train.frames": (32, 188),
            "train.log_every": (1, 10),
            "method_config.channels": (8, 64),
        }

    def test_curves_leave_out_what_cannot_be_read(self, copy: Path) -> None:
        with (copy / "metrics.jsonl").open("a") as file:
            file.write('{"step": 21, "total": null}\n{"step": 22, "total": 3}\n{"st')
        found = read_curves(open_run(copy))["total"]
        assert (found[-2][0], found[-1]) == (20, (22, 3.0))

    def test_stores_are_there_changed_or_gone(self, copy: Path, source: FeatureStore, tmp_path: Path) -> None:
        run = open_run(copy)
        assert run.corpora == ["ravdess", "emodb"]
        assert {find_training_store(run, corpus).state for corpus in run.corpora} == {"same"}

        def with_store(path: object) -> Run:
            config = json.loads((copy / "config.json").read_text())
            config["stores"]["emodb"] = path
            (copy / "config.json").write_text(json.dumps(config))
            return open_run(copy)

        assert find_training_store(with_store(str(source.path)), "emodb").state == "changed"
        assert find_training_store(with_store(str(tmp_path / "gone")), "emodb").state == "gone"
        assert find_training_store(with_store(None), "emodb").state == "not known"
        (tmp_path / "bad").mkdir()
        (tmp_path / "bad" / "store.json").write_text("{")
        assert find_training_store(with_store(str(tmp_path / "bad")), "emodb").state == "damaged"
