"""Quote text for the cards of data sets and models, which are YAML and Markdown."""

import json
import re
from typing import Final

#: Characters with a meaning in a line of Markdown or HTML.
_MARKDOWN: Final = re.compile(r"[\\`*_{}\[\]<>|~&$]")


def quote_yaml(value: object) -> str:
    """Return a value as a YAML string: a JSON string with escaped invisible characters."""
    quoted = json.dumps(str(value), ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in quoted)


def escape_markdown(value: object) -> str:
    """Return a value as one line of Markdown that renders as the literal text."""
    line = " ".join(str(value).split())
    visible = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in line)
    return _MARKDOWN.sub(r"\\\g<0>", visible)
