"""The commands of the package as click commands."""

from collections.abc import Iterator
from importlib.metadata import distribution
from typing import Any, cast
from unittest import mock

import click


def load_programs() -> dict[str, click.Command]:
    programs = {}
    with mock.patch("emodna.cli.common.run") as run:
        for script in distribution("emodna").entry_points.select(group="console_scripts"):
            script.load()()
            programs[script.name] = cast("click.Command", run.call_args.args[0])
    return programs


PROGRAMS = load_programs()


def iterate_commands() -> Iterator[tuple[str, Any]]:
    """Yield every command and subcommand with the words that call it."""
    for name, program in PROGRAMS.items():
        yield name, program
        if isinstance(program, click.Group):
            yield from ((f"{name} {word}", command) for word, command in program.commands.items())


def parse(words: list[str]) -> click.Context:
    """Parse a command line without running it; return the context of its command."""
    program = PROGRAMS[words[0]]
    context = program.make_context(words[0], words[1:])
    if isinstance(program, click.Group):
        name, command, rest = program.resolve_command(context, [*context._protected_args, *context.args])
        assert command is not None
        return command.make_context(name, rest, parent=context)
    return context
