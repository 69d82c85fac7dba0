"""Run emodna-prep and interrupt it at one point.

Usage: `python -m tests.pipeline.prep_with_interrupt POINT SIGNAL OPTION...`

POINT is `before:NAME:N` or `after:NAME:N` for the N-th call of a function of preparation, or `before:store.json` or
`after:store.json` for the commit, which renames the new store.json. Shards are small, so that a few files make several.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from emodna.cli.prep import main
from emodna.pipeline.prepare import extract, preparation
from emodna.pipeline.store import layout

#: Function -> module whose attribute the callers use.
CALLERS = {"decode": extract, "write_shard": preparation, "write_journal": preparation}


def interrupt_at(point: str, interrupt: Callable[[], None]) -> None:
    moment, name, *number = point.split(":")
    is_commit = name == layout.STORE_JSON
    owner, function = (Path, "replace") if is_commit else (CALLERS[name], name)
    original = getattr(owner, function)
    calls = count(1)

    def call_and_interrupt(*args: Any, **options: Any) -> Any:
        is_reached = Path(args[-1]).name == layout.STORE_JSON if is_commit else next(calls) == int(number[0])
        if is_reached and moment == "before":
            interrupt()
        result = original(*args, **options)
        if is_reached and moment == "after":
            interrupt()
        return result

    setattr(owner, function, call_and_interrupt)


if __name__ == "__main__":
    point, name, *options = sys.argv[1:]
    layout.UTTERANCES_PER_SHARD = 4  # type: ignore[misc]
    layout.CUT_RECORDINGS_PER_SHARD = 2  # type: ignore[misc]
    interrupt_at(point, lambda: os.kill(os.getpid(), signal.Signals[name]))
    sys.argv = ["emodna-prep", *options]
    main()
