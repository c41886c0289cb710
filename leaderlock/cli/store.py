"""The options that name a store, and what is made from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from leaderlock.cli import exits
from leaderlock.client import Client
from leaderlock.config import Config, read_mapping, resolve
from leaderlock.errors import ConfigurationError
from leaderlock.url import name

_PANEL = "Store"
_CLOSING = 1.0  # seconds for a store that hangs: no command has a term to release with it

Url = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        rich_help_panel=_PANEL,
        show_default=False,
        help="The store, for example etcd://10.0.0.1:2379. With a password in it, set it as "
        "LEADERLOCK_URL instead, or in the file of --config: a process list shows arguments.",
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        rich_help_panel=_PANEL,
        show_default=False,
        help="A TOML file with a table \\[leaderlock] (or \\[tool.leaderlock]): url, election, ttl "
        "and so on.",
    ),
]
Namespace = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        "-n",
        metavar="NAME",
        rich_help_panel=_PANEL,
        show_default=False,
        help="Keeps applications apart. Default: leaderlock.",
    ),
]
Ttl = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        rich_help_panel=_PANEL,
        show_default=False,
        help="The lease. Default: 10.",
    ),
]
Election = Annotated[
    str | None,
    typer.Option(
        "--election",
        "-e",
        metavar="NAME",
        show_default=False,
        help="The election. Also as LEADERLOCK_ELECTION, or in the file of --config.",
    ),
]
ElectionArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[ELECTION]",
        show_default=False,
        help="The election. Also as LEADERLOCK_ELECTION, or in the file of --config.",
    ),
]


@dataclass(frozen=True, slots=True)
class Place:
    """A store as the command line names it, and what else has been given."""

    url: str | None = None
    config: Path | None = None
    namespace: str | None = None
    ttl: float | None = None

    def settings(self, **more: Any) -> Mapping[str, Any]:
        """What goes before the file and the environment."""
        given = {"url": self.url, "namespace": self.namespace, "ttl": self.ttl, **more}
        return {key: value for key, value in given.items() if value is not None}

    def mapping(self) -> Mapping[str, Any]:
        return {} if self.config is None else read_mapping(self.config)

    def resolve(self, election: str | None = None, **more: Any) -> Config:
        """The configuration; without an election, if none is given anywhere.

        Raises:
            ConfigurationError: something cannot be used.
        """
        config = resolve(self.settings(**more), self.mapping(), election_required=False)
        if config.url.scheme == "memory":
            raise ConfigurationError(
                "memory:// lives within one process, so there is nothing to see or to do from "
                "here; use sqlite:///path/file.db, or a server"
            )
        if self.url is not None and "***" in str(config.url):
            exits.say(
                "everybody on this machine can read the secret in --url in the process list; give "
                "it as LEADERLOCK_URL, or in the file of --config"
            )
        return config

    @contextmanager
    def client(self, **more: Any) -> Iterator[Client]:
        """A client of the store, closed at the end of the block."""
        client = Client(self.resolve(**more))
        try:
            yield client
        finally:
            client.close(min(_CLOSING, client.timing.request_timeout))


def require_election(config: Config, given: str | None) -> str:
    """The election that is meant.

    Raises:
        ConfigurationError: none is given anywhere, or it is no election's name.
    """
    found = given or config.election
    if not found:
        raise ConfigurationError(
            "no election given: name it, set LEADERLOCK_ELECTION, or 'election' in the file"
        )
    return election_name(found)


def election_name(text: str) -> str:
    """The same text, if it can be an election's name.

    Raises:
        ConfigurationError: it cannot.
    """
    try:
        return name(text)
    except ValueError as error:
        raise ConfigurationError(f"election={text!r:.100} must be {error}") from None
