"""The language of the source: docstrings say what code does, and only `cli/` names commands and options."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
QUESTION = re.compile(r"(What|Whether|Which|Who|Whose|How|Where|When|Why|Whatever|Of|Those|All|As|So)\b")
COMMAND_LINE = re.compile(r"(?<![\w-])--[a-z][a-z-]+|\bemodna-[a-z]+")


def modules(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def docstrings(tree: ast.Module) -> Iterator[str]:
    """Yield the docstrings of a module, its classes, functions and fields."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            yield ast.get_docstring(node) or ""
        if isinstance(node, ast.Module | ast.ClassDef):
            for statement in node.body[1:]:
                match statement:
                    case ast.Expr(ast.Constant(str(text))):
                        yield text


def opening_questions(source: str) -> list[str]:
    return [text for text in docstrings(ast.parse(source)) if QUESTION.match(text)]


def command_line_words(source: str) -> list[str]:
    """Return the options and commands that a module names, in its order."""
    return COMMAND_LINE.findall(source)


@pytest.mark.parametrize("path", modules("pipeline", "model", "cli"), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_docstring_opens_with_a_question_word(path: Path) -> None:
    assert opening_questions(path.read_text()) == []


@pytest.mark.parametrize("path", modules("pipeline", "model"), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_command_or_option_is_named_below_cli(path: Path) -> None:
    assert command_line_words(path.read_text()) == []


def test_these_checks_find_what_they_look_for() -> None:
    source = '"""Whether it is."""\nclass A:\n    """Fine."""\n    field: int\n    """What it is."""\n'
    assert opening_questions(source) == ["Whether it is.", "What it is."]
    source = 'raise ConfigError(f"--steps {steps}: see emodna-fit")  # as --set says'
    assert command_line_words(source) == ["--steps", "emodna-fit", "--set"]
