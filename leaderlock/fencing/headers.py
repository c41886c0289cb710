"""How tokens travel over HTTP, for both ends. Pure.

    Leaderlock-Token: 0000000001.0000000000000000042       the token, `str(token)`
    Leaderlock-Source: etcd:1f0c                           which store issued it; may be missing

The source travels beside the token, so that a change of the store without a new epoch is refused by
name here too. A refusal answers with `Leaderlock-Current` and `Leaderlock-Current-Source`, the
same for the highest token seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote

from leaderlock.errors import ConfigurationError, StaleToken, TokenRegression
from leaderlock.fencing.gate import LONGEST_NAME, judge
from leaderlock.tokens import FencingToken

TOKEN = "Leaderlock-Token"
SOURCE = "Leaderlock-Source"
CURRENT = "Leaderlock-Current"
CURRENT_SOURCE = "Leaderlock-Current-Source"

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Methods that change nothing (RFC 9110, 9.2.1), and pass without a token."""

_PLAIN = "!#$&'()*+-./:;<=>?@[]^_`{|}~"  # in a source, besides letters and digits


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer in place of the application's.

    Attributes:
        status: 400, 412 or 428.
        reason: the status's name.
        text: what is wrong, in one sentence.
        headers: beside those of the content.
    """

    status: int
    reason: str
    text: str
    headers: tuple[tuple[str, str], ...] = ()


def fence_headers(token: FencingToken) -> dict[str, str]:
    """The headers of a request under this token, for any HTTP client."""
    return _headers_of(token, TOKEN, SOURCE)


def raise_if_fenced(
    token: FencingToken, status: int, headers: Mapping[str, str] | Iterable[tuple[str, str]]
) -> None:
    """Raise what the other end's fence has said, if it has refused; else do nothing.

    Args:
        token: of the request.
        status: of the answer.
        headers: of the answer; in any case, as a mapping or in pairs.

    Raises:
        StaleToken, TokenRegression: the token is refused.
    """
    if status != 412:
        return
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    found = {str(name).lower(): str(value).strip() for name, value in pairs}
    if CURRENT.lower() not in found:
        return  # another condition of the request, If-Match for example
    current = _token_of(found[CURRENT.lower()], found.get(CURRENT_SOURCE.lower(), ""))
    judge(token, current)
    raise StaleToken(token, current)  # refused it was, whatever the other end makes of its numbers


def read_token(tokens: list[str], sources: list[str]) -> FencingToken | Refusal | None:
    """What a request presents, of all values of the two headers; None: no token."""
    if len(tokens) > 1 or len(sources) > 1:
        return Refusal(400, "Bad Request", f"more than one {TOKEN} or {SOURCE}")
    if not tokens:
        return None
    try:
        return _token_of(tokens[0].strip(" \t"), sources[0].strip(" \t") if sources else "")
    except ConfigurationError as error:
        return Refusal(400, "Bad Request", f"{TOKEN}: {error}")


def missing_token() -> Refusal:
    """The answer to a write without a token: RFC 6585, 3."""
    return Refusal(428, "Precondition Required", f"the header {TOKEN} is missing")


def refusal_of(error: StaleToken | TokenRegression) -> Refusal:
    """The answer to a token that a fence refuses."""
    seen = () if error.highest is None else _headers_of(error.highest, CURRENT, CURRENT_SOURCE)
    return Refusal(412, "Precondition Failed", str(error), tuple(dict(seen).items()))


def _headers_of(token: FencingToken, token_name: str, source_name: str) -> dict[str, str]:
    headers = {token_name: str(token)}
    if token.source:
        headers[source_name] = quote(token.source, safe=_PLAIN)
    return headers


def _token_of(text: str, source: str) -> FencingToken:
    token = FencingToken.parse(text)
    name = unquote(source)
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise ConfigurationError(f"{SOURCE} is at most {LONGEST_NAME} printable characters")
    return FencingToken(token.epoch, token.value, name)
