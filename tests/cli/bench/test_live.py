"""The live grid: every terminal shows how far each row is, however many cells there are."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations, product
from pathlib import Path

import pytest
from rich.console import Console

from emodna.cli import common
from emodna.cli.bench.live import LiveWatcher, PlainWatcher, watching
from emodna.model.bench.results import State
from emodna.model.bench.spec import Conditions, Experiment, MethodInfo, MethodSpec, RunSpec
from emodna.model.bench.worker import Answer
from emodna.pipeline.emotions import TASKS

CORPORA = ("casia", "emodb", "emovo", "iemocap", "ravdess", "savee")
METHODS = ("source-only", "dann", "dan", "jan", "cdan", "bsp", "addi", "caam", "emo-dna", "difl", "mdd")


def bench(corpora: Sequence[str], methods: Sequence[str], seeds: int) -> Experiment:
    rows = {MethodSpec(name): MethodInfo(f"[red]{name}[/red]", False, "source") for name in methods}
    cells = [
        RunSpec(src, tgt, task, row, seed)
        for seed, task, row, (src, tgt) in product(range(seeds), TASKS, rows, permutations(corpora, 2))
    ]
    return Experiment(Path("bench"), Conditions(100, "mfcc40"), {}, rows, tuple(cells))


def drawn(watcher: LiveWatcher, *, width: int = 80, height: int = 24) -> list[str]:
    console = Console(width=width, height=height, force_terminal=True, color_system=None, legacy_windows=False)
    with console.capture() as captured:
        console.print(watcher)
    return captured.get().rstrip("\n").split("\n")


@pytest.mark.parametrize(("corpora", "methods", "seeds"), [(CORPORA, METHODS, 3), (CORPORA[:3], METHODS[:2], 1)])
def test_it_fits_a_terminal_of_80_by_24(corpora: Sequence[str], methods: Sequence[str], seeds: int) -> None:
    asked = bench(corpora, methods, seeds)
    lines = drawn(LiveWatcher(asked, dict.fromkeys(asked.runs, "waiting")))
    assert len(lines) <= 23
    assert max(map(len, lines)) <= 80
    assert f"0/{len(asked.runs)} cells" in lines[0]


def test_a_mark_per_cell_where_there_is_room_and_numbers_where_there_is_not() -> None:
    asked = bench(CORPORA[:3], METHODS[:1], 1)
    states: dict[RunSpec, State] = dict.fromkeys(asked.runs, "done")
    states[asked.runs[1]] = "failed"
    states[asked.runs[2]] = "waiting"
    arousal, valence = drawn(LiveWatcher(asked, states))[2:4]
    assert arousal == "[red]source-only[/red], arousal  ■\u00d7·■■■"
    assert valence.endswith("■■■■■■")
    many = bench(CORPORA, METHODS[:1], 3)
    counted: dict[RunSpec, State] = {**dict.fromkeys(many.runs, "done"), many.runs[1]: "failed"}
    assert drawn(LiveWatcher(many, counted))[2] == "[red]source-only[/red], arousal  89/90  1 failed"


def test_the_time_that_is_left_follows_from_the_cells_that_took_alike() -> None:
    asked = bench(CORPORA[:3], METHODS[:2], 1)
    watcher = PlainWatcher(asked, dict.fromkeys(asked.runs, "waiting"))
    tally = watcher.tally
    tally.workers = 2
    assert tally.remaining is None
    slow, quick = (next(cell for cell in asked.runs if cell.method.name == name) for name in METHODS[:2])
    for run, seconds in ((slow, 30.0), (quick, 10.0)):
        watcher.began(run)
        watcher.ended(run, Answer("done", seconds=seconds))
    # 5 of either are left of arousal, and 6 of either of valence, of which nothing is known but the mean.
    assert tally.remaining == pytest.approx((5 * 30 + 5 * 10 + 12 * 20) / 2)


def test_a_line_per_cell_without_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common, "err", Console(stderr=True, highlight=False, soft_wrap=True))
    common.set_verbosity(verbose=False, quiet=False)  # another test may have been quiet
    asked = bench(CORPORA[:2], METHODS[:1], 1)
    with watching(asked, [], quiet=False) as watcher:
        watcher.tally.states.update(dict.fromkeys(asked.runs, "waiting"))
        watcher.ended(asked.runs[0], Answer("done", {"uar": 62.55}, seconds=31.2))
        watcher.ended(asked.runs[1], Answer("failed", error="[bold]no\x1b[31m"))
    first, second = capsys.readouterr().err.splitlines()
    assert first == "1/4 casia -> emodb, arousal, [red]source-only[/red], seed 0: UAR 62.5 (31 s, ETA 1:34)"
    assert second == "2/4 emodb -> casia, arousal, [red]source-only[/red], seed 0: failed: [bold]no\\x1b[31m"
