"""`koopcast run`: choose the engine, show the run, print its summary."""

import os
import sys
from contextlib import ExitStack
from typing import Literal

from rich.table import Table

from flows import environment
from flows.display import Display, choose
from flows.embedded import embedded
from flows.endings import Terminal
from flows.engines import InlineEngine
from flows.prepare import prepare
from flows.request import Request, RunResult
from flows.run import TRACES, carry_out
from flows.server import attached, find_server
from koopcast.stores import Store

EngineName = Literal["auto", "inline", "prefect"]


def run(request: Request, engine: EngineName, *, as_json: bool, debug: bool) -> int:
    """Carry out a request and print what became of it; return the exit code."""
    display = choose(quiet=as_json)
    prepared = prepare(request)
    url = find_server() if engine != "inline" else None
    if engine == "inline" or (engine == "auto" and url is None):
        if engine == "auto":
            display.say("engine: inline (no Prefect server found; `koopcast up` starts one)")
        result = carry_out(prepared, InlineEngine(), display)
    else:
        result = _through_prefect(request, url, display)
    if as_json:
        print(result.model_dump_json(indent=1))
    else:
        show(result)
    if debug:
        _print_traces(prepared.store, result)
    sys.stdout.flush()
    return result.exit_code


def _through_prefect(request: Request, url: str | None, display: Display) -> RunResult:
    """Call the flow in this process, against a server: the one that was found, or one of our own."""
    environment.prepare()
    with ExitStack() as stack:
        if url is None:
            display.say("engine: prefect (starting a server for this run)")
            url = stack.enter_context(embedded())
        else:
            display.say(f"engine: prefect at {url}")
            os.environ["PREFECT_API_URL"] = url
        stack.enter_context(attached(url))
        from flows.pipeline import call

        return call(request, display)


def show(result: RunResult) -> None:
    """Print scores, expectations and the place of the report."""
    console = Terminal(highlight=False)
    for metric, subjects in result.scores.items():
        leads = list(dict.fromkeys(lead for values in subjects.values() for lead in values))
        table = Table(title=metric, title_justify="left", title_style="bold", box=None, pad_edge=False)
        table.add_column("")
        for lead in leads:
            table.add_column(f"lead {lead}" if lead.isdigit() else lead, justify="right")
        for subject, values in subjects.items():
            table.add_row(subject, *(_number(values, lead) for lead in leads))
        console.print(table)
        console.print()
    gated = {gate.step for gate in result.expect}
    for gate in result.expect:
        where = f"{gate.step}: " if len(gated) > 1 else ""
        mark = "[green]holds[/]" if gate.holds else "[red]FAILS[/]"
        value = "no value" if gate.value is None else f"{gate.value:.4g}"
        console.print(f"{mark}  {where}{gate.text}  (left side: {value})", soft_wrap=True)
    console.print(f"run {result.run}: {result.state.replace('_', ' ')}")
    if result.report:
        console.print(f"report: {result.report}", soft_wrap=True)
    if result.state == "failed":
        console.print("the same command goes on from what is done; --debug shows the tracebacks")


def _number(values: dict[str, float | None], lead: str) -> str:
    if lead not in values:
        return ""
    value = values[lead]
    return "-" if value is None else f"{value:.4g}"


def _print_traces(store: Store, result: RunResult) -> None:
    if (traces := store.run(result.run).read(TRACES)) is not None:
        sys.stderr.write(traces)
