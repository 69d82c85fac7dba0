"""Damage bytes like disks, interrupted transfers, careless tools and attackers."""

from __future__ import annotations

from collections.abc import Sequence

from numpy.random import Generator

#: Harmful lengths, counts and positions.
_EXTREMES = [0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF]
_EXTREMES += [2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1]
_DAMAGES = ("flip", "flip", "extreme", "extreme", "noise", "cut", "lose", "repeat", "zero", "splice", "move")


def mutate(content: bytes, others: Sequence[bytes], generator: Generator) -> bytes:
    """Return a content with one to four damages, half of them in its first 200 bytes, where headers are."""
    for _ in range(int(generator.choice((1, 1, 1, 2, 4)))):
        if not content:
            return content
        reach = len(content) if generator.random() < 0.5 else min(200, len(content))
        content = _damage(content, int(generator.integers(0, reach)), others, generator)
    return content


def _damage(content: bytes, at: int, others: Sequence[bytes], generator: Generator) -> bytes:
    """Replace some bytes from a position on."""

    def draw(*bounds: int) -> int:
        return int(generator.integers(*bounds))

    lost, new = len(content), b""
    match _DAMAGES[draw(len(_DAMAGES))]:
        case "flip":
            lost, new = 1, bytes([content[at] ^ (1 << draw(8))])
        case "extreme":
            lost = int(generator.choice((1, 2, 4, 8)))
            value = _EXTREMES[draw(len(_EXTREMES))] % 256**lost
            new = value.to_bytes(lost, "little" if generator.random() < 0.7 else "big")
        case "noise":
            lost = draw(1, 33)
            new = generator.bytes(lost)
        case "lose":
            lost = draw(1, 65)
        case "repeat":
            part = content[at : at + draw(1, 513)]
            lost, new = len(part), part * draw(2, 9)
        case "zero":
            lost = draw(1, 513)
            new = bytes(min(lost, len(content) - at))
        case "splice":
            other = others[draw(len(others))]
            new = other[draw(len(other) + 1) :]
        case "move":
            other = others[draw(len(others))]
            start = draw(len(other) + 1)
            new = other[start : start + draw(1, 65)]
            lost = len(new)
    return content[:at] + new + content[at + lost :]
