"""Run emodna-prep and interrupt it at one exact point: `python -m tests.pipeline.interrupted POINT SIGNAL OPTION...`.

POINT is `before:NAME:N` or `after:NAME:N`, the N-th call of a function of preparation, or `before:store.json` or
`after:store.json`, which is the renaming of the new store.json into place: the commit. Shards are small here, so that a
few files make several.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from emodna.cli.prep import main
from emodna.pipeline.prepare import extract
from emodna.pipeline.prepare import run as prepare
from emodna.pipeline.store import layout

#: Where the functions are looked up when they are called.
PLACES = {"decode": extract, "write_shard": prepare, "write_journal": prepare}


def interrupt_at(point: str, interrupt: Callable[[], None]) -> None:
    moment, name, *number = point.split(":")
    if name == layout.STORE_JSON:
        interrupt_renaming(moment, interrupt)
        return
    original = getattr(PLACES[name], name)
    calls, lock = 0, threading.Lock()

    def interrupted(*args: Any, **options: Any) -> Any:
        nonlocal calls
        with lock:
            calls += 1
            now = calls == int(number[0])
        if now and moment == "before":
            interrupt()
        result = original(*args, **options)
        if now and moment == "after":
            interrupt()
        return result

    setattr(PLACES[name], name, interrupted)


def interrupt_renaming(moment: str, interrupt: Callable[[], None]) -> None:
    original = Path.replace

    def replace(self: Path, target: Path) -> Path:
        the_commit = Path(target).name == layout.STORE_JSON
        if the_commit and moment == "before":
            interrupt()
        result = original(self, target)
        if the_commit and moment == "after":
            interrupt()
        return result

    Path.replace = replace  # type: ignore[method-assign,assignment]


if __name__ == "__main__":
    point, name, *options = sys.argv[1:]
    layout.UTTERANCES_PER_SHARD = 4  # type: ignore[misc]
    layout.CUT_RECORDINGS_PER_SHARD = 2  # type: ignore[misc]
    interrupt_at(point, lambda: os.kill(os.getpid(), signal.Signals[name]))
    sys.argv = ["emodna-prep", *options]
    main()
