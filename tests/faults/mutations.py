"""Damage bytes as disks, cut transfers, careless tools and attackers do."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from numpy.random import Generator

#: What a length, a count or a place is most harmful as.
_EXTREMES = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63 - 1,
    2**63,
    2**64 - 1,
)


def mutated(content: bytes, others: Sequence[bytes], generator: Generator) -> bytes:
    """A content with one damage, or up to four; half of them in its first 200 bytes, where headers are."""
    for _ in range(int(generator.choice((1, 1, 1, 2, 4)))):
        if not content:
            return content
        reach = len(content) if generator.random() < 0.5 else min(200, len(content))
        at = int(generator.integers(0, reach))
        damage = _DAMAGES[int(generator.integers(len(_DAMAGES)))]
        content = damage(content, at, others, generator)
    return content


def _flip(content: bytes, at: int, others: Sequence[bytes], generator: Generator) -> bytes:
    return content[:at] + bytes([content[at] ^ (1 << int(generator.integers(8)))]) + content[at + 1 :]


def _extreme(content: bytes, at: int, others: Sequence[bytes], generator: Generator) -> bytes:
    size = int(generator.choice((1, 2, 4, 8)))
    value = _EXTREMES[int(generator.integers(len(_EXTREMES)))] % 256**size
    order = "little" if generator.random() < 0.7 else "big"
    return content[:at] + value.to_bytes(size, order) + content[at + size :]  # type: ignore[arg-type]


def _noise(content: bytes, at: int, others: Sequence[bytes], generator: Generator) -> bytes:
    length = int(generator.integers(1, 33))
    return content[:at] + generator.bytes(length) + content[at + length :]


def _cut(content: bytes, at: int, others: Sequence[bytes], generator: Generator) -> bytes:
    return content[:at]


def _lose(content: bytes, at: int, others: Sequence[bytes], generator: Generator) -> bytes:
    return content[:at] + content[at + int(generator.integers(1, 65)) :]


def _repeat(content: bytes, at: int, others: Sequence[bytes], generator: Generator) -> bytes:
    part = content[at : at + int(generator.integers(1, 513))]
    return content[:at] + part * int(generator.integers(2, 9)) + content[at + len(part) :]


def _zero(content: bytes, at: int, others: Sequence[bytes], generator: Generator) -> bytes:
    length = int(generator.integers(1, 513))
    return content[:at] + bytes(min(length, len(content) - at)) + content[at + length :]


def _splice(content: bytes, at: int, others: Sequence[bytes], generator: Generator) -> bytes:
    other = others[int(generator.integers(len(others)))]
    return content[:at] + other[int(generator.integers(len(other) + 1)) :]


def _move(content: bytes, at: int, others: Sequence[bytes], generator: Generator) -> bytes:
    other = others[int(generator.integers(len(others)))]
    start = int(generator.integers(len(other) + 1))
    part = other[start : start + int(generator.integers(1, 65))]
    return content[:at] + part + content[at + len(part) :]


_DAMAGES: tuple[Callable[[bytes, int, Sequence[bytes], Generator], bytes], ...] = (
    *(_flip, _flip, _extreme, _extreme, _noise, _cut, _lose, _repeat, _zero, _splice, _move),
)
