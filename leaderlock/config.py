"""Keyword, mapping or file, URL query, environment, default: one frozen Config.

The earlier layer wins, key by key. An unknown key is an error that names the known ones, so that
a typing mistake cannot silently leave a default in force.
"""

from __future__ import annotations

import json
import os
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from leaderlock.capabilities import Capabilities
from leaderlock.errors import ConfigurationError
from leaderlock.registry import find_backend
from leaderlock.timing import DEFAULT_TTL, Timing
from leaderlock.tokens import MAX_EPOCH
from leaderlock.url import (
    Option,
    StoreURL,
    mask_secret,
    name,
    seconds,
    seconds_or_zero,
    whole_number,
)

if TYPE_CHECKING:
    from leaderlock.backends.base import Backend

ENV_PREFIX = "LEADERLOCK_"
MAX_METADATA_BYTES = 4096
# Set by others for other ends than configuring an elector: read past, never refused.
_FOREIGN_ENV = frozenset({"LEADERLOCK_SERVERS", "LEADERLOCK_TOKEN"})


def _metadata(value: object) -> Mapping[str, Any]:
    allowed = f"a mapping of names to JSON values, at most {MAX_METADATA_BYTES} bytes as JSON"
    try:
        if isinstance(value, str):
            value = json.loads(value)
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise ValueError(allowed)
        encoded = json.dumps(dict(value), allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise ValueError(allowed) from None
    if len(encoded.encode()) > MAX_METADATA_BYTES:
        raise ValueError(allowed)
    return MappingProxyType(json.loads(encoded))


# Options that carry a client which the program has made, and so name the store without a URL.
_READY_CLIENTS = {
    "kazoo_client": "zookeeper",
    "etcd_client": "etcd",
    "consul_client": "consul",
    "redis_client": "redis",
}

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 100

_NO_ELECTION = "no election given: which name do the candidates contend for?"


# What identifies an election and a candidate: in every layer but the URL query.
_CANDIDATE = {
    "election": Option(name, "the name contended for: any text of 1 to 255 characters"),
    "candidate_id": Option(
        name, "tells people who leads; default: host, process id and a random part"
    ),
    "metadata": Option(
        _metadata, "shown to everybody who asks who leads; at most 4 KiB of JSON; default: none"
    ),
    "beat_timeout": Option(
        seconds,
        "seconds a leader may go without a sign of progress; default: for ever, or, with healthy=, "
        "the ttl",
    ),
}
_IDENTITY = {"url": Option(lambda value: value, "the store")} | _CANDIDATE
# What every store understands: in the URL query too.
_COMMON = {
    "ttl": Option(seconds, f"the lease in seconds; default {DEFAULT_TTL:g}"),
    "heartbeat": Option(seconds, "seconds between renewals; default: a third of the belief window"),
    "request_timeout": Option(
        seconds, "the longest that one request may take, in seconds; default: heartbeat"
    ),
    "stop_grace": Option(
        seconds_or_zero,
        "ends the belief that many seconds earlier, so that work can finish while others are still "
        "kept out; default 0",
    ),
    "drain_timeout": Option(
        seconds,
        "how many seconds a resigning leader waits for its work; default: the belief window",
    ),
    "namespace": Option(
        name, "keeps the elections of different applications apart; default leaderlock"
    ),
    "epoch": Option(
        whole_number(0, MAX_EPOCH),
        "the incarnation of the store; raise it when the store is swapped, restored or flushed; "
        "default 1",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that an elector or a client needs to know, checked."""

    url: StoreURL
    backend: type[Backend] = field(repr=False)
    timing: Timing
    election: str = ""
    candidate_id: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    namespace: str = "leaderlock"
    epoch: int = 1
    beat_timeout: float | None = None
    has_default_id: bool = False


def resolve(
    keywords: Mapping[str, object],
    mapping: Mapping[str, object] | None = None,
    *,
    strict_environment: bool = False,
    election_required: bool = True,
) -> Config:
    """Lay the layers over each other.

    Args:
        keywords: the caller's own; None counts as not given.
        mapping: from `read_mapping`.
        strict_environment: also refuse unknown LEADERLOCK_ variables.
        election_required: False for a client that hands out electors.

    Raises:
        ConfigurationError: naming the key, where it came from, and what is allowed.
    """
    given = {key: value for key, value in keywords.items() if value is not None}
    mapping = mapping or {}
    environment = _read_environment()
    url = _find_url(given, mapping, environment)
    backend = find_backend(url.scheme)
    known = _COMMON | dict(backend.options)
    if not election_required:
        _refuse_identity(given)
    _refuse_unknown(given, _IDENTITY | known, "keyword")
    _refuse_unknown(mapping, _IDENTITY | known, "key")
    _refuse_unknown(url.query, known, f"parameter of {replace(url, query={})}")  # may be secret
    if strict_environment:
        _refuse_unknown(environment, _IDENTITY | known, "environment variable", ENV_PREFIX)
    layers = (
        ("", given),
        ("", mapping),
        (f" in {url}", url.query),
        (" in the environment", environment),
    )
    values = _merge(_CANDIDATE | known, layers)
    if election_required:
        if "election" not in values:
            raise ConfigurationError(_NO_ELECTION)
        if "candidate_id" not in values:
            values |= _default_identity()
    own = {key: values.pop(key) for key in backend.options if key in values}
    url = replace(backend.settle(url), options=MappingProxyType(own))
    return _build(url, backend, backend.limits(url), values)


def resolve_for_backend(backend: Backend, keywords: Mapping[str, object]) -> Config:
    """The same for a backend that the caller has made: it brings its ttl, namespace and timeout."""
    settings = backend.settings
    own = {"ttl", "request_timeout", "namespace"}
    known = {key: option for key, option in _COMMON.items() if key not in own}
    given = {key: value for key, value in keywords.items() if value is not None}
    _refuse_identity(given)
    _refuse_unknown(given, known, "keyword beside a ready backend")
    layers = (("", given), (" in the environment", _read_environment()))
    values = _merge(known | _CANDIDATE, layers)
    values |= {key: getattr(settings, key) for key in own}
    url = StoreURL(scheme=backend.schemes[0])
    return _build(url, type(backend), backend.capabilities, values)


def for_election(config: Config, **identity: object) -> Config:
    """The configuration of one more candidate under the same client."""
    given = {key: value for key, value in identity.items() if value is not None}
    _refuse_unknown(given, _CANDIDATE, "keyword of an elector")
    values = {key: _parse(_CANDIDATE[key], key, value, "") for key, value in given.items()}
    config = replace(config, **values)
    if not config.election:
        raise ConfigurationError(_NO_ELECTION)
    return config if config.candidate_id else replace(config, **_default_identity())


def with_store(store: object, settings: Mapping[str, object]) -> Mapping[str, object]:
    """The keywords of a caller who may have named the store by position."""
    if store is None:
        return settings
    if settings.get("url") is not None:
        raise ConfigurationError("the store is given twice: as the first argument and as 'url'")
    return {**settings, "url": store}


def read_mapping(source: Mapping[str, object] | str | os.PathLike[str]) -> Mapping[str, object]:
    """A mapping as it is, or the table [leaderlock] or [tool.leaderlock] of a TOML file."""
    if isinstance(source, Mapping):
        return source
    if not isinstance(source, str | os.PathLike):
        raise ConfigurationError(
            f"configuration comes from a mapping or a TOML file, not from {type(source).__name__}"
        )
    import tomllib
    from pathlib import Path

    path = Path(source)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"cannot read the configuration file {path}: {error}") from error
    tool = document.get("tool")
    for table in (document.get("leaderlock"), isinstance(tool, dict) and tool.get("leaderlock")):
        if isinstance(table, dict):
            return table
    raise ConfigurationError(
        f"{path} has no table [leaderlock] (in a pyproject.toml: [tool.leaderlock])"
    )


def default_candidate_id() -> str:
    """Unique, and tells people where the candidate runs."""
    from platform import node

    return f"{node()[:200] or 'localhost'}-{os.getpid()}-{os.urandom(3).hex()}"


def _read_environment() -> dict[str, str]:
    return {
        key.removeprefix(ENV_PREFIX).lower(): value
        for key, value in os.environ.items()
        if key.startswith(ENV_PREFIX)
        and key not in _FOREIGN_ENV
        and not key.startswith("LEADERLOCK_MONITOR")
    }


def _find_url(*layers: Mapping[str, object]) -> StoreURL:
    for layer in layers:
        for keyword, scheme in _READY_CLIENTS.items():
            if keyword in layer:
                if "url" in layer:
                    raise ConfigurationError(f"the store is given twice: 'url' and {keyword!r}")
                return StoreURL(scheme=scheme)
        if "url" in layer:
            return StoreURL.parse(layer["url"])
    raise ConfigurationError(
        "no store given: pass a URL, set 'url' in the configuration, or LEADERLOCK_URL"
    )


def _refuse_unknown(
    layer: Mapping[str, object], known: Mapping[str, Option], what: str, prefix: str = ""
) -> None:
    for key in layer:
        if key not in known:
            shown: list[Any] = [prefix + k.upper() if prefix else k for k in (key, *known)]
            raise ConfigurationError(
                f"unknown {what} {shown[0]!r}; known are {', '.join(shown[1:])}"
            )


def _refuse_identity(given: Mapping[str, object]) -> None:
    """A client is nobody's candidate."""
    for key in _CANDIDATE:
        if key in given:
            raise ConfigurationError(f"{key!r} belongs to an elector, not to its client")


def _merge(
    options: Mapping[str, Option], layers: Sequence[tuple[str, Mapping[str, object]]]
) -> dict[str, Any]:
    """For each key the value of the first layer that has it."""
    values: dict[str, Any] = {}
    for key, option in options.items():
        for origin, layer in layers:
            if key in layer:
                values[key] = _parse(option, key, layer[key], origin)
                break
    return values


def _default_identity() -> dict[str, Any]:
    return {"candidate_id": default_candidate_id(), "has_default_id": True}


def _parse(option: Option, key: str, value: object, origin: str) -> Any:
    try:
        return option.parse(value)
    except ValueError as error:
        shown = mask_secret(key, _SHORT.repr(value))
        raise ConfigurationError(f"{key}={shown}{origin} must be {error}") from None


def _build(
    url: StoreURL, backend: type[Backend], capabilities: Capabilities, values: dict[str, Any]
) -> Config:
    durations = ("ttl", "heartbeat", "request_timeout", "stop_grace", "drain_timeout")
    timing = Timing(
        capabilities=capabilities,
        **{key: values.pop(key) for key in durations if key in values},
    )
    return Config(url=url, backend=backend, timing=timing, **values)
