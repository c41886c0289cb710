"""The report, printed for people; as JSON it is `audit.Report.as_json`."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

from examples.billing.audit import Report
from examples.billing.events import short


def show(report: Report, console: Console) -> None:
    """Print it for people."""
    console.print()
    if report.terms:
        console.print(_terms_table(report))
    if report.failovers:
        console.print(_failovers_table(report))
    console.print(_numbers_table(report))
    console.print(f"Mode: {report.mode}; ttl {report.ttl:g} s; store {report.store}", style="dim")
    console.print(report.explanation)
    console.print()
    if report.ok:
        console.print("VERDICT: every due customer was charged exactly once.", style="bold green")
        return
    console.print("VERDICT: this went wrong.", style="bold red")
    for problem in report.problems:
        console.print(f"  - {problem}", style="red")


def _terms_table(report: Report) -> Table:
    table = Table(title="Terms", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("leader")
    for column in ("token", "from", "to", "charged", "refused"):
        table.add_column(column, justify="right")
    table.add_column("why it ended")
    for term in report.terms:
        table.add_row(
            term.leader,
            short(term.token),
            f"{term.began:.2f} s",
            f"{term.ended:.2f} s",
            str(term.charges),
            str(term.refused),
            term.explanation,
        )
    return table


def _failovers_table(report: Report) -> Table:
    table = Table(
        title="Fail-over: from the fault to the next election",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    for column in ("leader gone", "because", "next leader"):
        table.add_column(column)
    table.add_column("after", justify="right")
    for each in report.failovers:
        table.add_row(each.leader, each.fault, each.successor, f"{each.seconds * 1000:,.0f} ms")
    return table


def _numbers_table(report: Report) -> Table:
    customers = report.customers
    lines = {
        "customers due": customers.due,
        "charged exactly once": customers.once,
        "charged twice or more": customers.twice_or_more,
        "never charged": customers.never,
        "charged but not due": customers.not_due,
        "charges accepted": report.charges_accepted,
        "charges refused by the fence": report.charges_refused,
        "found charged but not recorded": report.reconciled,
    }
    title = f"Billing of {report.subscriptions:,} subscriptions in {report.seconds:.1f} s"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for what, count in lines.items():
        table.add_row(what, f"{count:,}")
    money = f"{report.cents_charged / 100:,.2f} of {report.cents_due / 100:,.2f}"
    table.add_row("money collected, of money due", money)
    return table
