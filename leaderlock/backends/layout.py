"""How elections are written down in a store of keys and values.

A key is made of `key_part(namespace)` and `key_part(election)`, with the store's separator; the
value that names a candidate is made by `pack`, and stays as it is for the whole term.
"""

from __future__ import annotations

import hashlib
import re
from urllib.parse import quote, unquote

from leaderlock.backends.base import Attempt

_LONGEST_PART = 150  # Consul takes keys of 512 bytes
_PLAIN = re.compile(r"(?!\.+\Z)[A-Za-z0-9_.-]{1,150}")
_SHORTENED = re.compile(r".{1,117}~[0-9a-f]{32}", re.DOTALL)
_RECORD = re.compile(rb"([A-Za-z0-9-]+) (.*)", re.DOTALL)


def key_part(name: str) -> str:
    """A namespace or election as one part of a key: another one for every name.

    Letters, digits and "_.-" stay as they are, so that people find their elections; the rest is
    percent-encoded. A name too long for that ends in a hash of the whole.
    """
    if _PLAIN.fullmatch(name):  # as most are; a round of renewals asks for thousands
        return name
    part = quote(name, safe="").replace("~", "%7E")
    if part.strip(".") == "":  # "." and ".." mean something else to ZooKeeper and to HTTP
        part = part.replace(".", "%2E")
    if len(part) > _LONGEST_PART:
        digest = hashlib.sha256(name.encode()).hexdigest()[:32]
        part = f"{part[: _LONGEST_PART - 33].rstrip('%')}~{digest}"
    return part


def name_of_part(part: str) -> str:
    """The name that `key_part` made a part of; of one that was too long, the part itself."""
    return part if "~" in part else unquote(part)


def is_shortened(part: str) -> bool:
    """Whether a name is a part that `key_part` has cut off, and so no election's name."""
    return _SHORTENED.fullmatch(part) is not None


def pack(attempt: Attempt) -> bytes:
    """What a candidate writes: its attempt id, a space, the payload."""
    return attempt.attempt_id.encode() + b" " + attempt.payload


def unpack(value: bytes | None) -> tuple[str, bytes] | None:
    """The attempt id and the payload, or None for what no candidate has written."""
    found = _RECORD.fullmatch(value or b"")
    return (found[1].decode(), found[2]) if found else None
