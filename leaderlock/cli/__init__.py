"""The command line `leaderlock`: see docs/cli.md. Needs the extra `cli` (typer and rich)."""
