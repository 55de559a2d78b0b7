"""`koopcast cycle` and `koopcast status`: analyse the windows that are due, and say how a cycle stands."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path

import pandas as pd
import typer
from rich.markup import escape

from flows.earlier import lookup
from flows.endings import Terminal
from flows.prepare import store_root
from koopcast.cycles.archive import Archive, Manifest
from koopcast.cycles.clock import LABEL, parse_moment
from koopcast.cycles.work import Ticked, Work
from koopcast.stores import Store
from schemas.cycle import LoadedCycle, load_cycle
from tasks.cycle import Prepared, archive_of, due, outcomes, prepare, tick
from tasks.standing import EXIT_CODES, RECENT, Standing, standing
from tasks.status import PAGE, SHOWN_GAPS, write_report

FAILED_EXPECTATION = 3


def run(
    file: Path,
    overrides: Sequence[str],
    *,
    until: str | None,
    force: str | None,
    dry_run: bool,
    fork: bool,
    store: str | None,
    as_json: bool,
) -> int:
    """Analyse what is due; return the exit code."""
    prepared = make(file, overrides, store)
    moment = moment_of(until)
    if dry_run:
        work, remaining = due(prepared, moment, force)
        show_work(work, remaining, as_json=as_json)
        return 0

    def then(work: Work, manifest: Manifest) -> None:
        if not as_json:
            typer.echo(line(manifest, work))

    ticked = tick(prepared, moment, force=force, fork=fork, then=then)
    gates = outcomes(prepared.cycle, ticked.done)
    if as_json:
        summary = {
            "cycle": prepared.cycle.name,
            "done": [manifest.label for manifest in ticked.done],
            "remaining": ticked.remaining,
            "waiting": ticked.waiting,
            "faults": ticked.faults,
            "warnings": ticked.warnings,
            "of_no_window": ticked.outside,
            "expect": [
                {
                    "text": gate.text,
                    "holds": gate.holds,
                    "value": gate.value if isfinite(gate.value) else None,
                }
                for gate in gates
            ],
        }
        typer.echo(json.dumps(summary, indent=1))
    else:
        show(prepared, ticked)
        for gate in gates:
            typer.echo(f"{'holds' if gate.holds else 'FAILS'}  {gate.text}  (left side: {gate.value:.4g})")
    return 0 if all(gate.holds for gate in gates) else FAILED_EXPECTATION


def make(file: str | Path, overrides: Sequence[str], uri: str | None) -> Prepared:
    """Return the cycle in a file, checked and ready."""
    root = store_root(uri)
    loaded: LoadedCycle = load_cycle(file, overrides, lookup(root))
    return prepare(loaded, Store.open(root, create=False))


def moment_of(until: str | None) -> pd.Timestamp:
    """Return the moment up to which windows are due: as given, else now, in UTC."""
    if until is not None:
        return parse_moment(until)
    return pd.Timestamp(datetime.now(UTC).replace(tzinfo=None))


def line(manifest: Manifest, work: Work) -> str:
    """Return one line on a window that was analysed."""
    seen = dict(manifest.values["observations"])
    used = seen.pop("used", 0)
    seen.pop("digest")
    monitors = manifest.values["monitors"]
    rejected = f", rejected {sum(seen.values())}" if seen else ""
    fit = (
        "" if monitors["ob_rms"] is None else f"  O-B {monitors['ob_rms']:.3g}  O-A {monitors['oa_rms']:.3g}"
    )
    why = "" if work.why == "due" else f"  ({work.why})"
    return f"{manifest.label}  {manifest.source:8}  used {used}{rejected}{fit}{why}"


def show(prepared: Prepared, ticked: Ticked) -> None:
    """Print what is left to say after the windows."""
    if not ticked.done:
        typer.echo("nothing is due")
    for note in ticked.notes:
        typer.echo(f"warning: {note}" if note in ticked.warnings else note)
    if ticked.waiting:
        typer.echo(f"{len(ticked.waiting)} files are still being written; the next tick reads them")
    if ticked.remaining:
        typer.echo(f"{ticked.remaining} more windows are due; the next tick goes on (max_catchup)")
    typer.echo(f"archive: {prepared.archive.uri}")


def show_work(work: list[Work], remaining: int, *, as_json: bool) -> None:
    """Print what a tick would do."""
    if as_json:
        entries = [{"label": item.label, "why": item.why} for item in work]
        typer.echo(json.dumps({"work": entries, "remaining": remaining}, indent=1))
        return
    for item in work:
        typer.echo(f"{item.label}  {item.why}")
    typer.echo(f"{len(work)} windows would be analysed, {remaining} more wait for the next tick")


def status(name: str, uri: str | None, *, at: str | None, max_behind: int, quick: bool, as_json: bool) -> int:
    """Print how a cycle stands; return the exit code of its state."""
    archive = archive_of(Store.open(store_root(uri), create=False), name)
    now = standing(archive, moment_of(at), deep=not quick, max_behind=max_behind)
    if as_json:
        typer.echo(json.dumps(_facts(name, archive, now), indent=1))
    else:
        _print_status(name, archive, now, quick=quick)
    return EXIT_CODES[now.state]


def report(name: str, uri: str | None, last: int | None) -> Path:
    """Write the report of a cycle and return its page."""
    return write_report(archive_of(Store.open(store_root(uri), create=False), name), last)


def _facts(name: str, archive: Archive, now: Standing) -> dict[str, object]:
    tick, labels = now.tick, now.table["label"]
    return {
        "cycle": name,
        "state": now.state,
        "windows": len(labels),
        "first": f"{labels.iloc[0]:{LABEL}}" if len(labels) else None,
        "last": now.last.label if now.last else None,
        "behind": now.behind,
        "next_due": now.next_due,
        "missing": now.missing,
        "without_reports": now.gaps,
        "reports": now.reports(),
        "rejection_rate": now.rejection_rate,
        "recent": now.recent(),
        "concerns": now.concerns,
        "stale": now.stale,
        "faults": now.faults,
        "writer": None if now.writer is None else str(now.writer),
        "last_tick": None if tick is None else tick.model_dump(include={"ended", "moment", "error", "done"}),
        "page": str(archive.root / PAGE),
    }


def _print_status(name: str, archive: Archive, now: Standing, *, quick: bool) -> None:
    console = Terminal(highlight=False, soft_wrap=True)
    colour = {"well": "green", "damaged": "red"}.get(now.state, "yellow")
    console.print(f"{escape(name)}: [bold {colour}]{now.state}[/]")
    first = f", from {now.table['label'].iloc[0]:{LABEL}} to {now.last.label}" if now.last else ""
    console.print(f"windows: {len(now.table)}{first}")
    if now.behind is not None:
        due = f"; the next is due {now.next_due}" if now.next_due else ""
        console.print(f"behind: {now.behind} windows{due}")
    console.print(f"without reports: {_few(now.gaps)}")
    counted = ", ".join(f"{key} {value}" for key, value in now.reports().items())
    share = "" if now.rejection_rate is None else f" ({now.rejection_rate:.1%} rejected)"
    console.print(f"reports: {counted or 'none'}{share}")
    means = ", ".join(f"{key} {value:.4g}" for key, value in now.recent().items())
    console.print(f"means over the last {RECENT} windows: {means or 'none'}")
    if now.tick is not None:
        console.print(f"last tick: {now.tick.ended}, {'failed' if now.tick.error else 'done'}")
    if now.writer is not None:
        console.print(f"at work: {now.writer}")
    for note in now.tick.notes if now.tick else ():
        console.print(f"note: {escape(note)}")
    for concern in now.concerns:
        console.print(f"[yellow]LOOK[/]  {escape(concern)}")
    for fault in now.faults:
        console.print(f"[red]FAULT[/]  {escape(fault)}")
    if now.missing:
        console.print(f"[red]FAULT[/]  missing between others: {_few(now.missing)}")
    checked = "manifests read" if quick else "every file read"
    told = f"{len(now.faults) + len(now.missing)} faults" if now.state == "damaged" else "whole"
    console.print(f"archive: {told} ({checked})")
    console.print(f"page: {archive.root / PAGE}")


def _few(labels: list[str]) -> str:
    """Return the last of many labels."""
    if not labels:
        return "none"
    return f"{len(labels)}, the last: {', '.join(labels[-SHOWN_GAPS:])}"
