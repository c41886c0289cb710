"""The fencing token: the number that makes a deposed leader harmless."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from leaderlock.errors import ConfigurationError

MAX_EPOCH = 2**31 - 1
MAX_VALUE = 2**63 - 1
_WIRE = re.compile(r"([0-9]{10})\.([0-9]{19})", re.ASCII)


@dataclass(frozen=True, slots=True, eq=False)
class FencingToken:
    """Identifies one term; every later term of the same election has a higher one.

    A resource that remembers the highest token it has seen and refuses lower ones can never be
    written by a deposed leader after its successor has touched it, whatever clocks and pauses do
    (M. Kleppmann, "How to do distributed locking", 2016).

    Tokens are ordered by (epoch, value). The store issues the value; the operator configures the
    epoch, and raises it when the store is swapped, restored or flushed. Values of different
    sources (clusters) say nothing about each other: ordering them within one epoch raises
    TypeError. A token that was parsed from the wire has no source and compares with any.

    Attributes:
        epoch: the operator's number for the incarnation of the store, 0 to 2**31 - 1.
        value: the number issued by the store, 0 to 2**63 - 1.
        source: which store issued it, for example ``"sqlite:1f0c..."``; empty if not known.
    """

    epoch: int
    value: int
    source: str = ""

    def __post_init__(self) -> None:
        for name, number, top in (
            ("epoch", self.epoch, MAX_EPOCH),
            ("value", self.value, MAX_VALUE),
        ):
            if isinstance(number, bool) or not isinstance(number, int):
                raise ConfigurationError(f"a token's {name} must be an int, not {number!r}")
            if not 0 <= number <= top:
                raise ConfigurationError(f"a token's {name} must be 0 to {top}, not {number}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the wire form, `str(token)`, back.

        Raises:
            ConfigurationError: the text is not a token's wire form.
        """
        match = _WIRE.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise ConfigurationError(
                f"not a fencing token: {text!r}; expected ten digits, a dot and nineteen digits"
            )
        return cls(epoch=int(match[1]), value=int(match[2]))

    def __int__(self) -> int:
        return self.value

    def __str__(self) -> str:
        """The wire form. Its width is fixed, so that text order is token order."""
        return f"{self.epoch:010d}.{self.value:019d}"

    def __hash__(self) -> int:
        return hash((self.epoch, self.value))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FencingToken):
            return NotImplemented
        same_number = (self.epoch, self.value) == (other.epoch, other.value)
        return same_number and not self._is_foreign(other)

    def __lt__(self, other: FencingToken) -> bool:
        if not isinstance(other, FencingToken):
            return NotImplemented
        self._require_comparable(other)
        return (self.epoch, self.value) < (other.epoch, other.value)

    def __le__(self, other: FencingToken) -> bool:
        if not isinstance(other, FencingToken):
            return NotImplemented
        self._require_comparable(other)
        return (self.epoch, self.value) <= (other.epoch, other.value)

    def __gt__(self, other: FencingToken) -> bool:
        return other.__lt__(self) if isinstance(other, FencingToken) else NotImplemented

    def __ge__(self, other: FencingToken) -> bool:
        return other.__le__(self) if isinstance(other, FencingToken) else NotImplemented

    def _is_foreign(self, other: FencingToken) -> bool:
        return bool(self.source and other.source) and self.source != other.source

    def _require_comparable(self, other: FencingToken) -> None:
        if self.epoch == other.epoch and self._is_foreign(other):
            raise TypeError(
                f"tokens of different sources cannot be compared within epoch {self.epoch}: "
                f"{self.source!r} and {other.source!r}; raise the epoch when the store changes"
            )
