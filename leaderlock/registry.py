"""From the scheme of a URL to the backend class, imported on first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from leaderlock.errors import ConfigurationError, MissingDependency, UnknownBackend

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from leaderlock.backends.base import Backend

ENTRY_POINT_GROUP = "leaderlock.backends"

# scheme: (module, class, the extra to install or "")
_BUILT_IN = {
    "memory": ("leaderlock.backends.memory", "MemoryBackend", ""),
    "sqlite": ("leaderlock.backends.sqlite", "SQLiteBackend", ""),
    "zookeeper": ("leaderlock.backends.zookeeper", "ZooKeeperBackend", "zookeeper"),
    "zookeepers": ("leaderlock.backends.zookeeper", "ZooKeeperBackend", "zookeeper"),
    "etcd": ("leaderlock.backends.etcd", "EtcdBackend", "etcd"),
    "etcds": ("leaderlock.backends.etcd", "EtcdBackend", "etcd"),
    "consul": ("leaderlock.backends.consul", "ConsulBackend", "consul"),
    "consuls": ("leaderlock.backends.consul", "ConsulBackend", "consul"),
    "redis": ("leaderlock.backends.redis", "RedisBackend", "redis"),
    "rediss": ("leaderlock.backends.redis", "RedisBackend", "redis"),
    "redis+unix": ("leaderlock.backends.redis", "RedisBackend", "redis"),
    "redis+sentinel": ("leaderlock.backends.redis", "RedisBackend", "redis"),
    "rediss+sentinel": ("leaderlock.backends.redis", "RedisBackend", "redis"),
    "redis+cluster": ("leaderlock.backends.redis", "RedisBackend", "redis"),
    "rediss+cluster": ("leaderlock.backends.redis", "RedisBackend", "redis"),
}


def known_schemes() -> list[str]:
    """Every scheme that a URL may have here, sorted."""
    return sorted({*_BUILT_IN, *(point.name for point in _plugins())})


def find_backend(scheme: str) -> type[Backend]:
    """The backend class for a URL scheme. Built-in ones come first, then entry points.

    Raises:
        UnknownBackend: nobody serves the scheme; the message lists those that exist.
        MissingDependency: its module cannot be imported; the message names the extra.
        ConfigurationError: the entry point is not a `Backend`.
    """
    if scheme in _BUILT_IN:
        module, class_name, extra = _BUILT_IN[scheme]
        found = getattr(_import(module, scheme, extra), class_name)
    else:
        found = _load_plugin(scheme)
    return _require_backend(found, scheme)


def _load_plugin(scheme: str) -> object:
    for point in _plugins():
        if point.name != scheme:
            continue
        try:
            return point.load()
        except Exception as error:  # whatever a foreign module's import may raise
            raise MissingDependency(
                f"the backend for {scheme}:// ({point.value}) cannot be loaded: {error!r}"
            ) from error
    raise UnknownBackend(
        f"no backend for {scheme}://; there are {', '.join(f'{s}://' for s in known_schemes())}"
    )


def _plugins() -> list[EntryPoint]:
    # Imported here: it takes longer than all of leaderlock, and few programs have plugins.
    from importlib.metadata import entry_points

    return list(entry_points(group=ENTRY_POINT_GROUP))


def _import(module: str, scheme: str, extra: str) -> object:
    try:
        return importlib.import_module(module)
    except Exception as error:  # not only ImportError: etcd3 raises TypeError with a new protobuf
        hint = f": pip install 'leaderlock[{extra}]'" if extra else ""
        raise MissingDependency(
            f"{scheme}:// needs a client library that cannot be imported ({error!r}){hint}"
        ) from error


def _require_backend(found: object, scheme: str) -> type[Backend]:
    from leaderlock.backends.base import Backend

    if not (isinstance(found, type) and issubclass(found, Backend)):
        raise ConfigurationError(
            f"the entry point {scheme!r} of group {ENTRY_POINT_GROUP!r} is {found!r}, "
            "not a subclass of leaderlock.Backend"
        )
    return found
