"""The help of every command: options in groups, one line per option, and two examples that can be parsed."""

import shlex
from typing import Any

import click
import pytest

from tests.cli.programs import iterate_commands, parse

COMMANDS: dict[str, Any] = dict(iterate_commands())
TITLES = {"Data", "Feature", "Training", "Evaluation", "Worker", "Output"}
COMMON = {"as_json", "config", "quiet", "verbose", "version"}
WIDTH = 120

every_command = pytest.mark.parametrize("name", COMMANDS)


def render_help(name: str) -> str:
    context = click.Context(COMMANDS[name], info_name=name, terminal_width=WIDTH, **COMMANDS[name].context_settings)
    return COMMANDS[name].get_help(context)


@every_command
def test_every_option_is_in_one_group_or_common(name: str) -> None:
    command = COMMANDS[name]
    grouped = [option for options in command.groups.values() for option in options]
    options = {each.name for each in command.params if isinstance(each, click.Option)}
    assert set(command.groups) <= TITLES
    assert len(grouped) == len(set(grouped))
    assert options - set(grouped) <= COMMON
    assert set(grouped) <= options - COMMON


@every_command
def test_every_option_has_one_line_of_help(name: str) -> None:
    command = COMMANDS[name]
    context = click.Context(command, **command.context_settings)
    lines = render_help(name).splitlines()
    assert max(map(len, lines)) <= WIDTH
    for option in command.params:
        if isinstance(option, click.Option):
            names, text = option.get_help_record(context)  # type: ignore[misc]
            assert text
            assert any(line.endswith(text) for line in lines), names


@every_command
def test_the_first_line_of_a_description_is_a_sentence(name: str) -> None:
    first = COMMANDS[name].help.splitlines()[0]
    assert first.endswith(".")
    assert first[0].isupper()


@every_command
def test_two_examples_can_be_parsed(name: str) -> None:
    command = COMMANDS[name]
    assert len(command.examples) == 2
    assert render_help(name).endswith("\n".join(["Examples:", *(f"  {example}" for example in command.examples)]))
    for example in command.examples:
        assert example.startswith(name)
        assert parse(shlex.split(example)).command in COMMANDS.values()
