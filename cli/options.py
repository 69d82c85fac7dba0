"""Commands whose help lists their options in groups and ends with examples."""

from collections.abc import Mapping
from typing import Any, Final

import click

from emodna.cli.wording import CommandError, word_error
from emodna.pipeline.errors import EmodnaError

#: Options that every command has, listed last.
_COMMON: Final = "Common"


class Command(click.Command):
    """A command with groups of options and with examples.

    Parameters
    ----------
    groups
        Title -> names of its parameters, separated by spaces. Options that stand in no group are common ones.
    examples
        Command lines, printed at the end of the help.
    """

    def __init__(
        self, *args: Any, groups: Mapping[str, str] | None = None, examples: tuple[str, ...] = (), **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.groups = {title: names.split() for title, names in (groups or {}).items()}
        self.examples = examples

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, group by group."""
        records = {
            str(parameter.name): record
            for parameter in self.get_params(ctx)
            if (record := parameter.get_help_record(ctx)) is not None
        }
        for title, names in self.groups.items():
            with formatter.section(f"{title} options"):
                formatter.write_dl([records.pop(name) for name in names])
        with formatter.section(f"{_COMMON} options"):
            formatter.write_dl(list(records.values()))

    def format_epilog(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"{'':{formatter.current_indent}}{example}\n")

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an `EmodnaError` becomes a `CommandError` in the words of its options."""
        try:
            return super().invoke(ctx)
        except EmodnaError as error:
            raise CommandError(word_error(error, self)) from error
