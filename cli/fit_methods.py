"""The list of methods that emodna-fit prints."""

import dataclasses
import textwrap
from collections.abc import Iterator
from typing import Final

from emodna.cli import common
from emodna.model.methods.catalog import MethodDescription, describe_methods
from emodna.pipeline.errors import PluginError

#: Between a name and what is said of it.
_GAP: Final = 2
#: Wider lines are hard to read.
_WIDEST: Final = 100

_MARKS: Final = (
    "(our reading): the paper leaves the sizes of its layers open.",
    "(oracle): learns from the target's labels, to show what is within reach.",
    "[scl]: takes `--add scl`, Emo-DNA's contrastive loss on pseudo-labels.",
)


def print_methods(*, as_json: bool) -> None:
    """Print each method with what it does and where it comes from; one that cannot be used, with the reason."""
    found = describe_methods()
    if as_json:
        common.print_json(
            [
                {"method": name, "error": str(each)} if isinstance(each, PluginError) else dataclasses.asdict(each)
                for name, each in found.items()
            ]
        )
        return
    indent = max(map(len, found)) + _GAP
    width = min(common.out.width, _WIDEST)
    for name, each in found.items():
        heading = common.visible(name)
        for paragraph in _paragraphs(each):
            for line in textwrap.wrap(common.visible(paragraph), max(width - indent, 20)):
                common.out.print(common.safe(f"{heading:{indent}}{line}"))
                heading = ""
    common.out.print()
    for mark in _MARKS:
        common.out.print(common.safe(mark))


def _paragraphs(each: MethodDescription | PluginError) -> Iterator[str]:
    if isinstance(each, PluginError):
        yield str(each).partition(": ")[2]
        return
    marks = ["(our reading)"] * each.our_reading + ["(oracle)"] * each.oracle + [f"[{word}]" for word in each.add]
    yield " ".join([each.summary, *marks])
    yield each.reference
    for package, version in each.package.items():
        yield f"of the package {package} {version}"
