"""Tests of replies of workers."""

from pathlib import Path

import pytest

from emodna.model.bench import worker
from emodna.model.bench.worker import RunOrder, execute_order, hash_experiment, read_versions
from tests.model.bench.builders import write_experiment


@pytest.mark.parametrize(("local", "kind"), [(True, "failed"), (False, "refused")])
def test_missing_store_fails_the_run_here_and_refuses_all_runs_elsewhere(
    local: bool, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "get_worker_name", lambda: "worker a:1")
    experiment = write_experiment(tmp_path, ["dan"], corpora=("casia", "emodb"))
    digest = hash_experiment(tmp_path) or ""
    order = RunOrder(str(tmp_path), digest, experiment.runs[0], read_versions(), 1, "cpu", local, restart=False)
    reply = execute_order(order)
    assert reply.kind == kind
    assert "/stores/casia/mfcc40-22050hz-1d163ad7" in str(reply.error)
    assert reply.traceback is None
