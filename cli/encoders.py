"""List of the known encoders for emodna-prep."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from emodna.cli import common
from emodna.pipeline.errors import EmodnaError

if TYPE_CHECKING:
    from emodna.pipeline.encoders.known import KnownEncoder

#: Sign of each exposure in the table.
_SIGNS: Final = {"yes": "[red]yes[/red]", "no": "no", "unknown": "[yellow]?[/yellow]"}
_LEGEND: Final = """
yes, no, ?: the training of the encoder contained the corpus, did not, or it is not known.
Scores on a corpus with yes or ? are marked.
values: per frame of the default hidden states, which the next column has.
{first}: begin with it. It is small, and its hidden states were chosen by measurement (docs/FEATURES.md)."""


def print_encoders(*, as_json: bool) -> None:
    """Print the known encoders with their sources, licences and training data, and which are on this machine."""
    from emodna.pipeline.encoders.known import KNOWN_ENCODERS
    from emodna.pipeline.encoders.weights import ENCODERS_VARIABLE, find_local_copy, list_missing_folders

    for folder in list_missing_folders():
        common.print_warning(EmodnaError("not a folder", where=f"${ENCODERS_VARIABLE}: {folder}"))
    copies = {name: find_local_copy(known) for name, known in KNOWN_ENCODERS.items()}
    local = {name: None if path is None else str(path.absolute()) for name, path in copies.items()}
    if as_json:
        common.print_json([_make_document(each, local[name]) for name, each in KNOWN_ENCODERS.items()])
        return
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0)  # fits into 80 columns
    corpora = next(iter(KNOWN_ENCODERS.values())).seen
    for heading in ("encoder", "here", "values", "states", *corpora):
        table.add_column(heading, no_wrap=True, justify="right" if heading == "values" else "left")
    for name, each in KNOWN_ENCODERS.items():
        here = "no" if local[name] is None else "yes"
        states = each.default_layers
        values = str(each.width * len(states.split(",")))
        table.add_row(name, here, values, states, *(_SIGNS[seen.exposure] for seen in each.seen.values()))
    common.out.print(table)
    common.out.print()
    for name, each in KNOWN_ENCODERS.items():
        common.out.print(f"[bold]{name}[/bold]")
        for line in _describe(each, local[name]):
            common.out.print(f"  {common.escape(line)}", soft_wrap=True)
    first = next(name for name, each in KNOWN_ENCODERS.items() if each.layers is not None)
    common.out.print(_LEGEND.format(first=first), markup=False)


def _describe(known: "KnownEncoder", local: str | None) -> Iterator[str]:
    yield f"{known.source}, {known.file}"
    if known.revision is None:
        yield (
            f"no commit is confirmed: give {known.hub}@COMMIT; this prints one with {known.file}: "
            f"git ls-remote https://huggingface.co/{known.hub} {known.safetensors_ref}"
        )
    if local is not None:
        yield f"here: {local}"
    yield f"licence: {known.licence}"
    yield f"training data: {known.training_data}"
    if known.remark:
        yield known.remark
    yield f"cite: {known.citation}"
    grouped: dict[tuple[str, str], list[str]] = {}
    for corpus, seen in known.seen.items():
        grouped.setdefault(seen, []).append(corpus)
    for (exposure, citation), names in grouped.items():
        yield f"{exposure}: {', '.join(names)} ({citation})"


def _make_document(known: "KnownEncoder", local: str | None) -> dict[str, Any]:
    keys = ("hub", "revision", "safetensors_ref", "file", "sha256", "licence", "training_data", "citation", "remark")
    return {
        "encoder": known.name,
        **{key: getattr(known, key) or None for key in keys},
        "width": known.width,
        "default_layers": known.default_layers,
        "local": local,
        "seen": {corpus: seen._asdict() for corpus, seen in known.seen.items()},
    }
