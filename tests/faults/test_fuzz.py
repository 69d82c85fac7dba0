"""Run short, seeded parts of `python -m tests.faults.fuzz` and `python -m tests.faults.flips`."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from tests.faults import fuzz
from tests.faults.mutations import mutated
from tests.faults.targets import TARGETS

#: Whose outcomes vary: damaged enough, and not too much.
VARIED = ("audio", "archives", "store_bytes", "store_shards", "iemocap_labels", "names")


def fuzz_every_target(trials: int) -> dict[str, fuzz.Tally]:
    """Damage the input of every target; fail if any trial finds a fault."""
    tallies = fuzz.batch(list(TARGETS), 0, 0, trials)
    assert {target: tally.findings for target, tally in tallies.items()} == {target: [] for target in TARGETS}
    assert {target: tally.trials for target, tally in tallies.items()} == dict.fromkeys(TARGETS, trials)
    return tallies


def test_damaged_input_is_refused_or_read_rightly() -> None:
    fuzz_every_target(6)


@pytest.mark.slow
def test_damage_is_neither_too_much_nor_too_little_to_matter() -> None:
    tallies = fuzz_every_target(60)
    assert [target for target in VARIED if len(tallies[target].outcomes) < 2] == []


def test_a_trial_that_raises_crashes_or_fails_unseen_is_found() -> None:
    """What all this rests on can fail. The trials behind a crash are run, too."""
    tally = fuzz.batch(["faulty"], 0, 0, 5)["faulty"]
    assert tally.outcomes == {"read": 2, "FOUND": 2}
    unseen, raised, crashed = sorted(tally.findings, key=lambda finding: finding.split(":")[2])
    assert unseen.startswith("faulty:0:1: ValueError(")
    assert raised.startswith("faulty:0:2: ")
    assert "ValueError: on purpose" in raised
    assert crashed.startswith("faulty:0:3: exit -6")


def test_a_trial_can_be_repeated() -> None:
    first, second = (mutated(bytes(range(256)), [b"other"], fuzz._generator("audio", 3, 5)) for _ in range(2))
    assert first == second
    assert mutated(bytes(range(256)), [b"other"], fuzz._generator("audio", 3, 6)) != first


@pytest.mark.parametrize("step", [509, pytest.param(151, marks=pytest.mark.slow)])
def test_flipped_bytes_are_found_and_named(step: int) -> None:
    """Flip every n-th byte. The step shares no factor with the width of any value."""
    command = [sys.executable, "-m", "tests.faults.flips", "--step", str(step), "--mask", "255", "--json"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    found = json.loads(ran.stdout)
    assert found["missed"] == []
    assert found["tried"].keys() == {"audio-stat.sealed", "index", "journal", "rejected", "shard", "store.json"}
    assert sum(found["tried"].values()) > 22_000 / step


def test_damage_covers_all_of_a_content() -> None:
    content = bytes(1000)
    changed = np.zeros(1000, bool)
    for number in range(300):
        damaged = mutated(content, [b"\1" * 1000], fuzz._generator("names", 0, number))
        changed[[place for place, each in enumerate(damaged[:1000]) if each]] = True
    assert changed.mean() > 0.9
