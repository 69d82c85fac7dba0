"""Text from outside in the cards that describe data sets and models: YAML above, Markdown below."""

import json
import re
from typing import Final

#: What begins something inside a line of Markdown, or HTML in it.
_MARKDOWN: Final = re.compile(r"[\\`*_{}\[\]<>|~&$]")


def quote_yaml(value: object) -> str:
    """A string of YAML, which takes JSON's but for characters that are not to be seen."""
    quoted = json.dumps(str(value), ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in quoted)


def escape_markdown(value: object) -> str:
    """Text inside a line of Markdown that stands as it is, and stays on that line."""
    line = " ".join(str(value).split())
    visible = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in line)
    return _MARKDOWN.sub(r"\\\g<0>", visible)
