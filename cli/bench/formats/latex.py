"""A table of a benchmark in LaTeX, with booktabs: as the paper prints it."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from emodna.cli.bench.formats.layout import Laid, Signs, laid_out
from emodna.cli.bench.formats.words import caption, missing, notes
from emodna.cli.common import visible
from emodna.model.bench.tables.data import Table

_SPECIAL: Final = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    "\u00b1": r"$\pm$",
    "\u2191": r"$\uparrow$",
    "\u2193": r"$\downarrow$",
    "[": "{[}",
    "]": "{]}",
    '"': r"\textquotedbl{}",
    "->": r"$\rightarrow$",
    "--": "-{}-",
}
_PATTERN: Final = re.compile("|".join(re.escape(each) for each in sorted(_SPECIAL, key=len, reverse=True)))


def escape(text: str) -> str:
    """Text that LaTeX takes literally."""
    return _PATTERN.sub(lambda found: _SPECIAL[found.group()], visible(text))


SIGNS = Signs(
    escape=escape,
    bold=lambda text: rf"\textbf{{{text}}}",
    plus_minus=r"\,$\pm$\,",
    minus="$-$",
    same="$^{=}$",
    below="$^{<}$",
    up=r"$\uparrow$",
    down=r"$\downarrow$",
    unmarked="",
    indent=r"\quad ",
)


def latex(table: Table) -> str:
    """The whole table: a float, with a tabular for each block."""
    return "\n".join(_lines(table)) + "\n"


def _lines(table: Table) -> Iterator[str]:
    yield r"% \usepackage{booktabs}; with pdflatex also \usepackage[T1]{fontenc}"
    yield r"\begin{table*}"
    yield r"\centering\scriptsize\setlength{\tabcolsep}{2pt}"
    yield rf"\caption{{{escape(caption(table))}}}"
    yield rf"\label{{tab:emodna-{table.name}}}"
    for place, block in enumerate(table.blocks):
        if place:
            yield r"\par\medskip"
        laid = laid_out(table, block, SIGNS)
        yield rf"{laid.title}\par\smallskip"
        yield from _tabular(laid)
    yield r"\par\smallskip\raggedright"
    yield from (rf"{escape(note)}\par" for note in notes(table))
    if gaps := list(missing(table)):
        yield rf"{escape(_incomplete(table))}\par"
        yield from (f"% {visible(gap)}" for gap in gaps)
    yield r"\end{table*}"


def _incomplete(table: Table) -> str:
    """What a reader of the paper has to know; the source says more."""
    cells = sum(gap.cells for gap in table.gaps)
    parts = ["1 cell is missing" if cells == 1 else f"{cells} cells are missing"] * bool(cells)
    parts += [f"corpora that are missing: {', '.join(table.absent)}"] if table.absent else []
    return f"Incomplete: {'; '.join(parts)}."


def _tabular(laid: Laid) -> Iterator[str]:
    width = len(laid.heads)
    columns = width * len(laid.groups)
    yield rf"\begin{{tabular}}{{l{'r' * columns}}}"
    yield r"\toprule"
    yield _row(["", *(rf"\multicolumn{{{width}}}{{c}}{{{group}}}" for group in laid.groups)])
    starts = range(2, columns + 2, width)
    yield "".join(rf"\cmidrule(lr){{{start}-{start + width - 1}}}" for start in starts)
    yield _row(["Method", *(head for _ in laid.groups for head in laid.heads)])
    yield r"\midrule"
    for line in laid.lines:
        if line.new_part:
            yield r"\midrule"
        yield _row([line.label, *line.cells])
    yield r"\bottomrule"
    yield r"\end{tabular}"


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"
