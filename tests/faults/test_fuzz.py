"""Run short, seeded parts of `python -m tests.faults.fuzz` and `python -m tests.faults.flips`."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from tests.faults import fuzz
from tests.faults.mutations import mutate
from tests.faults.targets import TARGETS

#: Targets with varying outcomes, if the damage is neither too small nor too large.
VARIED = ("audio", "archives", "store_bytes", "store_shards", "iemocap_labels", "names")


def fuzz_every_target(trials: int) -> dict[str, fuzz.Tally]:
    """Run trials of every target; fail if there is a finding."""
    tallies = fuzz.run_batch(list(TARGETS), 0, 0, trials)
    assert {target: tally.findings for target, tally in tallies.items()} == {target: [] for target in TARGETS}
    assert {target: tally.trials for target, tally in tallies.items()} == dict.fromkeys(TARGETS, trials)
    return tallies


def test_damaged_input_is_refused_or_read_correctly() -> None:
    fuzz_every_target(6)


@pytest.mark.slow
def test_damage_gives_varying_outcomes() -> None:
    tallies = fuzz_every_target(60)
    assert [target for target in VARIED if len(tallies[target].outcomes) < 2] == []


def test_errors_crashes_and_failing_finalizers_are_findings() -> None:
    """The trials after a crash also run."""
    tally = fuzz.run_batch(["faulty"], 0, 0, 5)["faulty"]
    assert tally.outcomes == {"read": 2, "FOUND": 2}
    unseen, raised, crashed = sorted(tally.findings, key=lambda finding: finding.split(":")[2])
    assert unseen.startswith("faulty:0:1: ValueError(")
    assert raised.startswith("faulty:0:2: ")
    assert "ValueError: on purpose" in raised
    assert crashed.startswith("faulty:0:3: exit -6")


def test_a_trial_is_reproducible() -> None:
    first, second = (mutate(bytes(range(256)), [b"other"], fuzz._make_generator("audio", 3, 5)) for _ in range(2))
    assert first == second
    assert mutate(bytes(range(256)), [b"other"], fuzz._make_generator("audio", 3, 6)) != first


@pytest.mark.parametrize("step", [509, pytest.param(151, marks=pytest.mark.slow)])
def test_flipped_bytes_are_reported(step: int) -> None:
    """The step shares no factor with the width of any value."""
    command = [sys.executable, "-m", "tests.faults.flips", "--step", str(step), "--mask", "255", "--json"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    found = json.loads(ran.stdout)
    assert found["missed"] == []
    assert found["tried"].keys() == {"audio-stat.sealed", "index", "journal", "rejected", "shard", "store.json"}
    assert sum(found["tried"].values()) > 22_000 / step


def test_damage_covers_the_whole_content() -> None:
    content = bytes(1000)
    changed = np.zeros(1000, bool)
    for number in range(300):
        damaged = mutate(content, [b"\1" * 1000], fuzz._make_generator("names", 0, number))
        changed[[place for place, each in enumerate(damaged[:1000]) if each]] = True
    assert changed.mean() > 0.9
