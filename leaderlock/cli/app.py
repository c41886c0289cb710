"""All commands under one name, and what is common to them."""

from __future__ import annotations

import io
import logging
import signal
import sys
from typing import Annotated

import typer

import leaderlock
from leaderlock.cli import demo, doctor, evict, exits, leaders, monitor, run, token
from leaderlock.cli.help import flowing

HELP = """
Leader election from the command line, over the store you already run.

\b
The store: --url, LEADERLOCK_URL, or `url` in the file of --config.
  leaderlock run --url etcd://10.0.0.1:2379 -e billing -- ./charge.sh
  leaderlock who billing --url etcd://10.0.0.1:2379

\b
Shell completion:
  leaderlock --install-completion
"""

# ClickException: of click, or of the copy of it that typer brings along.
_UsageError: type[Exception] = typer.BadParameter.__mro__[2]

app = typer.Typer(
    help=flowing(HELP),
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(
    help=flowing(run.HELP),
    epilog=run.EPILOG,
    context_settings={"allow_interspersed_args": False, "ignore_unknown_options": False},
)(run.run)
app.command(help=flowing(leaders.WHO), epilog=exits.EPILOG)(leaders.who)
app.command(help=flowing(leaders.WATCH), epilog=exits.EPILOG)(leaders.watch)
app.command("list", help=flowing(leaders.LIST), epilog=exits.EPILOG)(leaders.list_)
app.command(help=flowing(leaders.CANDIDATES), epilog=exits.EPILOG)(leaders.candidates)
app.command(help=flowing(evict.HELP), epilog=exits.EPILOG)(evict.evict)
app.command(help=flowing(doctor.HELP), epilog=exits.EPILOG)(doctor.doctor)
app.command(help=flowing(monitor.HELP), epilog=exits.EPILOG)(monitor.monitor)
app.command(help=flowing(demo.HELP), epilog=exits.EPILOG)(demo.demo)
app.command(help=flowing(token.HELP), epilog=exits.EPILOG)(token.token)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"leaderlock {leaderlock.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def leaderlock_(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True)
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show the library's log on stderr.")
    ] = False,
) -> None:
    log = logging.getLogger("leaderlock")
    if verbose:
        logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    else:  # what matters of it is said in plain sentences
        log.addHandler(logging.NullHandler())
        log.propagate = False
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(exits.USAGE)


def main(words: list[str] | None = None) -> int:
    """Run one command. Returns the exit code."""
    command = typer.main.get_command(app)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of candidates are of no locale
            stream.reconfigure(errors="backslashreplace")
    try:
        code = command.main(words, prog_name="leaderlock", standalone_mode=False)
    except _UsageError as error:
        exits.say(error.format_message())  # type: ignore[attr-defined]
        return exits.USAGE
    except (typer.Abort, KeyboardInterrupt):
        print(file=sys.stderr)
        return exits.SIGNAL + 2
    except OSError as error:
        exits.say(f"input or output has failed: {error.strerror or error}")
        return exits.IO_FAILED
    except SystemExit as ended:
        # `leaderlock list | head`: so end click and rich when the reader has gone, and 1 is an
        # answer of ours ("nobody leads").
        if ended.code != 1:
            raise
        return exits.SIGNAL + signal.SIGPIPE
    return code if isinstance(code, int) else 0
