"""Store URLs, and the values that may stand in them.

    scheme://user:password@host1:port,host2:port/path?ttl=5&option=value

A StoreURL prints with its secrets masked; nothing in leaderlock prints the text it came from.
"""

from __future__ import annotations

import ipaddress
import math
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Self
from urllib.parse import parse_qsl, quote, unquote

from leaderlock.errors import ConfigurationError

_EXAMPLE = "for example sqlite:///var/lib/app/election.db"
_BRACKETED = re.compile(r"\[([^\[\]]*)\]")
_SECRET_KEY = re.compile("pass|pwd|secret|token|credential|auth|key$", re.IGNORECASE)
# Up to the last "@": an unescaped "/", "?" or "#" in a password must not bring it to light.
_USERINFO = re.compile(r"^([\w+.-]*:/*)?.*@", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Option:
    """One setting that a URL query, a mapping, a keyword or the environment may carry.

    Attributes:
        parse: turns text or an already typed value into what the program uses; raises ValueError
            with the words that complete "ttl=... must be ...".
        doc: one line for people.
    """

    parse: Callable[[object], Any]
    doc: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreURL:
    """A store's address, taken apart.

    Attributes:
        scheme: names the backend.
        authority: the part between "//" and the path without credentials, percent-decoded.
        path: from the first "/" on, percent-decoded.
        username: may be empty.
        password: may be empty; never printed.
        query: the parameters as they were written.
        options: the backend's own options with their values parsed, whichever layer of the
            configuration they came from.
    """

    scheme: str
    authority: str = ""
    path: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def parse(cls, text: object) -> Self:
        """Take a URL apart.

        Raises:
            ConfigurationError: it is not a URL, has a fragment, or names a parameter twice.
        """
        if not isinstance(text, str):
            raise ConfigurationError(f"a store URL must be a str, not {type(text).__name__}")
        scheme, separator, _ = text.partition("://")
        if not separator or not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme):
            raise ConfigurationError(f"not a store URL: {_mask(text)!r}; write {_EXAMPLE}")
        if re.search(r"[\x00-\x20\x7f]", text):
            raise ConfigurationError(
                f"a store URL has no spaces or control characters: {_mask(text)!r}; "
                "percent-encode them (a space is %20)"
            )
        # Not urlsplit: that of Debian's 3.11.2, with its security fixes, takes a bracketed host
        # only where nothing stands before it, and here it may be the second of several.
        rest, hash_sign, _ = text.partition("://")[2].partition("#")
        rest, _, query = rest.partition("?")
        netloc, slash, path = rest.partition("/")
        path = slash + path
        userinfo, _, authority = netloc.rpartition("@")
        if not _is_authority(authority):
            raise ConfigurationError(
                f"the host in {_mask(text)!r} is not valid; an IPv6 address stands in brackets"
            )
        if netloc and "@" in path:
            raise ConfigurationError(
                f"'@' in the path of {_mask(text)!r}: write it as %40, and '/' in a password as %2F"
            )
        if hash_sign:
            raise ConfigurationError(
                f"a store URL has no fragment: {_mask(text)!r}; write '#' as %23"
            )
        text = _mask(text)
        username, _, password = userinfo.partition(":")
        return cls(
            scheme=scheme,
            authority=_unquote(authority, text),
            path=_unquote(path, text),
            username=_unquote(username, text),
            password=_unquote(password, text),
            query=MappingProxyType(_parse_query(query, text)),
        )

    def __str__(self) -> str:
        """The URL with every secret masked."""
        login = quote(self.username) + (":***" if self.password else "")
        query = "&".join(
            f"{key}={quote(mask_secret(key, value), safe='/:,*')}"
            for key, value in self.query.items()
        )
        return (
            f"{self.scheme}://{login}{'@' if login else ''}{quote(self.authority, safe=':,[]')}"
            f"{quote(self.path)}{'?' if query else ''}{query}"
        )


def _is_authority(text: str) -> bool:
    """Whether brackets stand around IPv6 addresses only, and no letter turns into a separator."""
    outside = _BRACKETED.sub("", text)
    if "[" in outside or "]" in outside:
        return False
    # A resolver makes "a/c" of U+2100 (CVE-2019-9636).
    if not outside.isascii():
        letters = "".join(letter for letter in outside if not letter.isascii())
        if set("/?#@:,") & set(unicodedata.normalize("NFKC", letters)):
            return False
    try:
        for address in _BRACKETED.findall(text):
            ipaddress.IPv6Address(address)
    except ValueError:
        return False
    return True


def _unquote(part: str, shown: str) -> str:
    try:
        return unquote(part, errors="strict")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{shown!r} has an escape %XX that is not UTF-8") from None


def _parse_query(query: str, text: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            query, keep_blank_values=True, strict_parsing=bool(query), errors="strict"
        )
    except ValueError:
        raise ConfigurationError(
            f"the query of {text!r} is not of the form name=value&name=value"
        ) from None
    found: dict[str, str] = {}
    for key, value in pairs:
        if key in found:
            raise ConfigurationError(f"{key!r} stands twice in the query of {text!r}")
        found[key] = value
    return found


def mask_secret(key: str, value: object) -> str:
    """The value of a setting as it may be shown to people."""
    return "***" if _SECRET_KEY.search(key) else str(value)


def _mask(text: str) -> str:
    """A URL that could not be taken apart, without what might be secret in it."""
    head, question_mark, _ = _USERINFO.sub(r"\1***@", text).partition("?")
    return head + ("?***" if question_mark else "")


# Parsers for Option. Each takes text or a typed value, and says in its ValueError what is allowed.


def seconds(value: object) -> float:
    """A positive, finite number of seconds."""
    number = _number(value, "a positive number of seconds")
    if number <= 0:
        raise ValueError("a positive number of seconds")
    return number


def seconds_or_zero(value: object) -> float:
    """A finite number of seconds, 0 allowed."""
    number = _number(value, "0 or more seconds")
    if number < 0:
        raise ValueError("0 or more seconds")
    return number


def whole_number(low: int, high: int) -> Callable[[object], int]:
    """An integer from `low` to `high`."""
    allowed = f"a whole number from {low} to {high}"

    def parse(value: object) -> int:
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,19}", value, re.ASCII):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(allowed)
        return value

    return parse


def name(value: object) -> str:
    """1 to 255 characters of any unicode text that can be encoded."""
    allowed = "a text of 1 to 255 characters without lone surrogates"
    if not isinstance(value, str) or not 1 <= len(value) <= 255:
        raise ValueError(allowed)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(allowed) from None
    return value


def text(value: object) -> str:
    """Any text but the empty one."""
    if not isinstance(value, str) or not value:
        raise ValueError("a text that is not empty")
    return value


def flag(value: object) -> bool:
    """true or false."""
    if isinstance(value, bool):
        return value
    found = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if not isinstance(value, str) or value.lower() not in found:
        raise ValueError("true or false")
    return found[value.lower()]


def _number(value: object, allowed: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(allowed)
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise ValueError(allowed) from None
    if not math.isfinite(number):
        raise ValueError(allowed)
    return number
