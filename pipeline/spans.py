"""Parts of recordings that a user's table lists: its columns `start` and `end`, in s."""

import math
import re
from collections.abc import Iterator
from datetime import timedelta
from itertools import repeat
from typing import TYPE_CHECKING, Final, NamedTuple

from emodna.pipeline.errors import AudioError

if TYPE_CHECKING:  # prediction without a table needs no pyarrow
    import pyarrow as pa

#: Time in s by which a span may exceed its recording. Tables round times, and decoders differ in the padding of MP3.
TOLERANCE: Final = 0.05

#: Advice if no span of a table is usable.
RENAME_SPANS: Final = "rename the columns start and end if they are not seconds in a recording"

_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_DECIMAL_COMMA: Final = re.compile(r"[+-]?(0,\d+|\d+,(\d{1,2}|\d{4,}))")
_COMMA: Final = re.compile(r"[+-]?\d+,\d+")
#: Hours, minutes and seconds, or days before them, as pandas and Python write durations.
_CLOCK: Final = re.compile(r"(?P<sign>-?)((?P<days>\d+) days?,? ?\+?)?((?P<h>\d+):(?P<m>\d\d):(?P<s>\d\d([.,]\d+)?))?")


class Span(NamedTuple):
    """Part of a recording."""

    start: float = 0.0
    """Start in s."""
    end: float | None = None
    """End in s; None: the end of the recording."""

    def fit(self, duration: float) -> tuple[float, float]:
        """Return start and end in a recording of `duration` s. Raises `AudioError`: too far beyond its end."""
        end = duration if self.end is None else self.end
        if 0 < duration <= self.start or end > duration + TOLERANCE:
            raise AudioError(f"beyond the end of the recording, at {duration:.3f} s")
        return self.start, min(end, duration)

    def __str__(self) -> str:
        """Return start and end as text."""
        return f"{self.start:g} s to {'the end' if self.end is None else f'{self.end:g} s'}"


WHOLE: Final = Span()


class SpanError(ValueError):
    """An unusable start or end. `kind` names no value, so that errors can be counted by it."""

    def __init__(self, kind: str, cell: object) -> None:
        super().__init__(f"{kind}: {cell}")
        self.kind = kind
        self.cell = str(cell)


def read_spans(table: "pa.Table") -> Iterator[Span | SpanError]:
    """Yield the span of each row of a user's table: the whole recording without a start and an end.

    Cells hold seconds, durations of Arrow, or text such as `0.5`, `00:01:02.5` and `0 days 00:01:02.5`. A comma marks
    decimals if the table proves it, as `0,5` does; a table with only `12,345` may mean thousands. A missing start is
    the beginning of the recording, a missing end its end.
    """
    from emodna.pipeline.store.layout import SPAN_COLUMNS
    from emodna.pipeline.tables import to_python

    if not set(SPAN_COLUMNS) & set(table.column_names):
        yield from repeat(WHOLE, len(table))
        return
    columns = [_to_seconds(table[name]) if name in table.column_names else None for name in SPAN_COLUMNS]
    cells = [[None] * len(table) if column is None else to_python(column) for column in columns]
    has_decimal_comma = any(
        isinstance(cell, str) and _DECIMAL_COMMA.fullmatch(cell.strip()) for column in cells for cell in column
    )
    for start, end in zip(*cells, strict=True):
        try:
            yield _make_span(
                _parse("start", start, decimal_comma=has_decimal_comma),
                _parse("end", end, decimal_comma=has_decimal_comma),
            )
        except SpanError as error:
            yield error


def _make_span(start: float | None, end: float | None) -> Span:
    span = Span(start or 0.0, end)
    if end is not None and end <= span.start:
        raise SpanError("end is not after start", span)
    return span


def _to_seconds(column: "pa.ChunkedArray") -> "pa.ChunkedArray":
    """Return a column of durations in s; any other column as it is."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_duration(column.type):
        return column
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[column.type.unit]
    return pc.divide(column.cast(pa.int64()).cast(pa.float64(), safe=False), float(per_second))


def _parse(name: str, cell: object, *, decimal_comma: bool) -> float | None:
    """Return a time in s; None if it is missing. Raises `SpanError`."""
    from emodna.pipeline.tables import is_missing

    if is_missing(cell):
        return None
    is_text = isinstance(cell, str)
    seconds = _read_text(name, str(cell).strip(), decimal_comma=decimal_comma) if is_text else _read_number(cell)
    if seconds is None or not math.isfinite(seconds):
        raise SpanError(f"{name} is not a number of seconds", repr(cell) if is_text else cell)
    if seconds < 0:
        raise SpanError(f"{name} is negative", cell)
    return seconds


def _read_number(cell: object) -> float | None:
    if isinstance(cell, timedelta):
        return cell.total_seconds()
    try:
        return None if isinstance(cell, bool) else float(cell)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None


def _read_text(name: str, text: str, *, decimal_comma: bool) -> float | None:
    if _NUMBER.fullmatch(text):
        return float(text)
    if _COMMA.fullmatch(text):
        if not decimal_comma:
            raise SpanError(f"the comma of {name} may mark decimals or thousands", text)
        return float(text.replace(",", "."))
    if text and (clock := _CLOCK.fullmatch(text)):
        parts = {unit: float((clock[unit] or "0").replace(",", ".")) for unit in ("days", "h", "m", "s")}
        seconds = ((parts["days"] * 24 + parts["h"]) * 60 + parts["m"]) * 60 + parts["s"]
        return -seconds if clock["sign"] else seconds
    return None
