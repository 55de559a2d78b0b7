"""`koopcast cycle` and `koopcast status`: analyse the windows that are due, and say how a cycle stands."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import typer

from flows.earlier import lookup
from flows.prepare import store_root
from koopcast.cycles.archive import Manifest
from koopcast.cycles.clock import parse_moment
from koopcast.cycles.tick import Ticked, Work
from koopcast.stores import Store
from schemas.cycle import LoadedCycle, load_cycle
from tasks.cycle import Prepared, archive_of, outcomes, prepare, tick
from tasks.status import PAGE, standing

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
        prepared.archive.pull()
        prepared.inbox.scan()
        work, remaining = prepared.ticker.work(moment, force)
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
            "expect": [{"text": gate.text, "holds": gate.holds, "value": gate.value} for gate in gates],
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
    for warning in ticked.warnings:
        typer.echo(f"warning: {warning}")
    for path, fault in ticked.faults.items():
        typer.echo(f"not read: {path}: {fault}")
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


def status(name: str, uri: str | None, *, as_json: bool) -> int:
    """Print how a cycle stands; return 1 where its archive is not whole."""
    archive = archive_of(Store.open(store_root(uri), create=False), name)
    now = standing(archive)
    labels = archive.labels()
    facts = {
        "cycle": name,
        "windows": len(labels),
        "first": labels[0] if labels else None,
        "last": labels[-1] if labels else None,
        "without_reports": now.gaps,
        "reports": now.reports(),
        "recent": now.recent(),
        "faults": now.faults,
        "page": str(archive.root / PAGE),
    }
    if as_json:
        typer.echo(json.dumps(facts, indent=1))
    else:
        _print_status(facts)
    return 1 if now.faults else 0


def _print_status(facts: dict[str, object]) -> None:
    typer.echo(f"{facts['cycle']}: {facts['windows']} windows, {facts['first']} to {facts['last']}")
    for title in ("reports", "recent"):
        entries = facts[title]
        assert isinstance(entries, dict)
        shown = ", ".join(
            f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in entries.items()
        )
        typer.echo(f"{'means over the last 30 windows' if title == 'recent' else title}: {shown}")
    faults = facts["faults"]
    assert isinstance(faults, list)
    for fault in faults:
        typer.echo(f"FAULT  {fault}")
    typer.echo("archive: whole" if not faults else f"archive: {len(faults)} faults")
    typer.echo(f"page: {facts['page']}")
