"""`leaderlock monitor`: a web page, metrics and alarms for all elections of a namespace."""

from __future__ import annotations

import logging
import math
import os
from contextlib import suppress
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from leaderlock.cli import exits
from leaderlock.cli.output import print_json
from leaderlock.cli.store import ConfigFile, Namespace, Place, Ttl, Url, election_name
from leaderlock.errors import ConfigurationError

HELP = """
Watch elections from outside: a web page, Prometheus metrics, and alarms.

Watches the elections that are named, or all of the namespace, also those that are new. It writes
nothing to the store. Nodes with a beacon report what they believe, so that two who believe to lead
are seen.

\b
Examples:
  leaderlock monitor --url etcd://10.0.0.1:2379
  leaderlock monitor billing cron -c leaderlock.toml --webhook https://example.com/alarms
  LEADERLOCK_MONITOR_TOKEN=$(cat token) leaderlock monitor --listen 0.0.0.0:9464

\b
It serves:
  /             the page        /metrics       for Prometheus, with alarms
  /api/state    JSON            /healthz       for a probe; needs no token
  /api/beliefs  takes what nodes report: leaderlock run --monitor, telemetry.beacon
"""

_PANEL = "Monitor"


def monitor(
    elections: Annotated[
        list[str] | None, typer.Argument(metavar="[ELECTION]...", show_default=False)
    ] = None,
    url: Url = None,
    config: ConfigFile = None,
    namespace: Namespace = None,
    ttl: Ttl = None,
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where to serve. Port 0: any that is free.")
    ] = "127.0.0.1:9464",
    leaderless: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=0,
            show_default=False,
            help="Raise an alarm when nobody has led for so long; 0: never. Default: 30, or the "
            "worst-case fail-over of the store for this ttl, if that is longer.",
        ),
    ] = None,
    webhook: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            show_default=False,
            help="POST alarms there, as JSON. With a secret in it, set it as "
            "LEADERLOCK_MONITOR_WEBHOOK instead: a process list shows arguments.",
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help="Whoever asks has to show the token in it. Also as LEADERLOCK_MONITOR_TOKEN. "
            "Without one, only this machine may be served.",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            show_default=False,
            help="A name by which it may be asked without a token, for a proxy. Again for more.",
        ),
    ] = None,
    max_elections: Annotated[
        int, typer.Option(metavar="N", min=1, max=100_000, help="Watch no more than so many.")
    ] = 1000,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print where it serves as a line of JSON.")
    ] = False,
) -> None:
    with exits.plainly():
        from leaderlock.monitor.server import Wish, require_safe, serve, url_of
        from leaderlock.monitor.server import listen as listen_at
        from leaderlock.monitor.webhook import TIMEOUT, Webhook
        from leaderlock.telemetry.post import Endpoint

        place = Place(url, config, namespace, ttl)
        hook = webhook or os.environ.get("LEADERLOCK_MONITOR_WEBHOOK")
        endpoint = Endpoint("the webhook", hook, timeout=TIMEOUT) if hook else None
        if elections and len(elections) > max_elections:
            raise ConfigurationError(
                f"{len(elections)} elections are named, and --max-elections is {max_elections}"
            )
        if leaderless is not None and not math.isfinite(leaderless):
            raise ConfigurationError(
                f"--leaderless {leaderless} must be a number of seconds; 0: never"
            )
        wish = Wish(
            elections=[election_name(each) for each in elections or ()],
            leaderless=leaderless,
            most=max_elections,
            token=_token(token_file),
            hosts=[_host(each) for each in allow_host or ()],
        )
        with place.client() as client, listen_at(listen) as bound:
            require_safe(bound, wish.token)
            where = {"store": str(client.config.url), "namespace": client.config.namespace}
            teller = None if endpoint is None else Webhook(endpoint, {**where})

            def ready() -> None:
                exits.say_what_is_logged(logging.INFO)
                if as_json:
                    print_json({"url": url_of(bound), **where}, indent=None)
                exits.say(f"watching {where['store']} on {url_of(bound)}")

            try:
                serve(client, wish, bound, teller, ready)
            finally:
                if teller is not None:
                    teller.close(2.0)


def _token(file: Path | None) -> str | None:
    """Raises ConfigurationError: the file cannot be read."""
    if file is None:
        return os.environ.get("LEADERLOCK_MONITOR_TOKEN", "").strip() or None
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigurationError(f"cannot read the token file {file}: {why}") from None


def _host(text: str) -> str:
    name = text.removeprefix("[").removesuffix("]").lower()
    with suppress(ValueError):
        if urlsplit(f"//{text}").hostname == name:
            return name
    raise ConfigurationError(f"--allow-host {text!r} must be a name alone, without a port")
