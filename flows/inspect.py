"""The commands that do not run: validate, graph, plan, why, diff, show, schema, backup, gc, doctor."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from rich.table import Table

from flows import lock
from flows.command import show
from flows.display import duration, size
from flows.earlier import lookup
from flows.endings import Terminal
from flows.memory import Rates
from flows.prepare import cached, make, store_root
from flows.request import RunResult
from flows.run import SUMMARY
from koopcast.errors import InvalidInput, KoopcastError, StoreDamaged, StoreMissing
from koopcast.stores import Store
from koopcast.stores import doctor as check_store
from koopcast.stores import gc as collect_garbage
from koopcast.stores.bucket import is_bucket
from schemas.faults import PipelineInvalid
from schemas.load import is_cycle
from schemas.pipeline import load
from schemas.plan import Plan, explain
from tasks.backup import back_up
from tasks.environment import hardware, versions
from tasks.report import PAGE


def validate_all(files: Sequence[Path], overrides: Sequence[str]) -> int:
    """Check files, print every fault of every file; return the exit code."""
    faulty = 0
    for file in files:
        try:
            print(f"{file}: valid, {_checked(file, overrides)}")
        except PipelineInvalid as error:
            faulty += 1
            print(error)
    return 2 if faulty else 0


def _checked(file: Path, overrides: Sequence[str]) -> str:
    """Return what a valid file holds, in words."""
    known = lookup(store_root(None))
    if is_cycle(file):
        from schemas.cycle import load_cycle

        loaded = load_cycle(file, overrides, known).cycle
        return f"a cycle of {loaded.cycle.step} from {loaded.cycle.start}"
    return f"{len(load(file, overrides, known).pipeline.steps)} steps"


def draw(file: Path, overrides: Sequence[str], form: Literal["text", "mermaid", "svg"]) -> str:
    """Return the graph of a pipeline."""
    from schemas.drawing import to_svg
    from schemas.graph import graph_of, to_mermaid, to_text

    graph = graph_of(load(file, overrides, lookup(store_root(None))))
    return {"text": to_text, "mermaid": to_mermaid, "svg": to_svg}[form](graph)


def show_plan(file: Path, overrides: Sequence[str], uri: str | None, *, as_json: bool) -> None:
    """Print what a run would do with each step, why, and what it would take."""
    store, plan = _planned(file, overrides, uri)
    known = cached(plan, store)
    decisions = plan.select([name for name, whole in known.items() if whole])
    rates, ages = Rates(store).read(), Rates(store).ages()
    rows = []
    for step in plan.steps:
        decision = decisions[step.name]
        reason = "its artefact is damaged" if known.get(step.name) is False else decision.reason
        if decision.action == "run" and step.name not in known:
            reason = _reason(plan, store, step.name)
        cost = step.cost
        rows.append(
            {
                "step": step.name,
                "origin": step.origin,
                "action": decision.action,
                "reason": reason,
                "key": step.key,
                "seconds": cost.seconds(rates) if cost else None,
                "measured": ages.get(cost.rate) if cost else None,
                "memory": cost.memory if cost else None,
                "disk": cost.disk if cost else None,
            }
        )
    if as_json:
        print(json.dumps({"pipeline": plan.loaded.pipeline.name, "steps": rows}, indent=1))
    else:
        _print_plan(list(_gathered(rows, plan)))


def _gathered(rows: list[dict[str, Any]], plan: Plan) -> Iterator[dict[str, Any]]:
    """Yield a row a step of the file; those of a sweep together, with what is left of them to run."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["origin"], []).append(row)
    for name, group in groups.items():
        if group[0]["step"] == name:
            yield {**group[0], "count": 1}
            continue
        running = [row for row in group if row["action"] == "run"]
        seconds = [row["seconds"] for row in running if row["seconds"] is not None]
        is_known = running and len(seconds) == len(running)
        yield {
            **(running or group)[0],
            "step": f"{name} × {len(group)}",
            "count": len(running),
            "seconds": sum(seconds) if is_known else None,
            "disk": sum(row["disk"] or 0 for row in running),
            "reason": f"{len(running)} of {len(group)} points" if running else "nothing changed",
        }
    points = plan.loaded.points
    for name in points.reach if points is not None else ():
        if points is not None and name not in groups:
            trials = f"at most {points.count(name)} points, chosen by the search"
            yield {
                "step": name,
                "action": "run",
                "reason": trials,
                "count": points.count(name),
            } | dict.fromkeys(("seconds", "measured", "memory", "disk"))


def _print_plan(rows: list[dict[str, Any]]) -> None:
    table = Table(box=None, pad_edge=False)
    for name in ("step", "action", "time", "memory", "disk"):
        table.add_column(name, justify="left" if name in ("step", "action") else "right", no_wrap=True)
    table.add_column("why")
    for row in rows:
        runs = row["action"] == "run"
        seconds = row["seconds"]
        table.add_row(
            row["step"],
            row["action"],
            (duration(seconds) if seconds is not None else "not measured") if runs else "",
            size(row["memory"]) if runs and row["memory"] is not None else "",
            size(row["disk"]) if runs and row["disk"] is not None else "",
            row["reason"],
        )
    console = Terminal(highlight=False)
    console.print(table)
    running = [row for row in rows if row["action"] == "run"]
    days = sorted({row["measured"] for row in running if row["measured"]})
    total = sum(row["seconds"] or 0.0 for row in running)
    unknown = sum(row["seconds"] is None for row in running)
    line = f"{len(running)} of {len(rows)} steps would run"
    if (count := sum(row["count"] for row in running)) > len(running):
        line += f", {count} times in all"
    if days:
        line += f", {duration(total)} by rates measured on this machine ({days[0]} to {days[-1]})"
    if unknown:
        line += f"; {unknown} of a kind not measured yet"
    console.print(line)


def explain_step(file: Path, step: str, overrides: Sequence[str], uri: str | None) -> str:
    """Return which option, input, file, seed or code makes a step run again, or that nothing does."""
    store, plan = _planned(file, overrides, uri)
    known = cached(plan, store)
    return "\n".join(_explained(plan, store, planned.name, known) for planned in plan.of(step))


def _explained(plan: Plan, store: Store, name: str, known: Mapping[str, bool]) -> str:
    if known.get(name):
        return f"{name}: nothing changed; its result is {plan[name].kind}-{plan[name].key[:12]}"
    if name in known:
        return f"{name}: its artefact is damaged and will be made again"
    return f"{name}: {_reason(plan, store, name)}"


def _reason(plan: Plan, store: Store, name: str) -> str:
    """Return what changed in a step since the last run in which it was done."""
    for run in store.runs(plan.loaded.pipeline.name):
        record = run.record.steps.get(name)
        if record is None or record.state != "done":
            continue
        former = store.find(record.kind, record.key)
        if former is None:
            return "its former result is gone"
        components: Any = former.manifest.facts["components"]
        return "; ".join(explain(components, plan[name].components)) or "its former result is gone"
    return "never made in this store"


def _planned(file: Path, overrides: Sequence[str], uri: str | None) -> tuple[Store, Plan]:
    return make(str(file), overrides, uri)


def compare(first: str, second: str, uri: str | None) -> str:
    """Return in what two runs differ: options, inputs, files, code, seeds, versions, scores."""
    store = Store.open(store_root(uri), create=False)
    lines = list(lock.differences(lock.read(store, first), lock.read(store, second)))
    one, other = _summary(store, first), _summary(store, second)
    for metric in dict.fromkeys([*one.scores, *other.scores]):
        before, after = one.scores.get(metric, {}), other.scores.get(metric, {})
        for subject in dict.fromkeys([*before, *after]):
            leads = dict.fromkeys([*before.get(subject, {}), *after.get(subject, {})])
            for lead in leads:
                pair = before.get(subject, {}).get(lead), after.get(subject, {}).get(lead)
                if pair[0] != pair[1]:
                    lines.append(f"{metric}({subject}, {lead}): {_shown(pair[0])} -> {_shown(pair[1])}")
    return "\n".join(lines) or f"{one.run} and {other.run} do not differ"


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"


def _summary(store: Store, name: str) -> RunResult:
    run = store.run(name)
    text = run.read(SUMMARY)
    if text is None:
        raise StoreMissing(
            f"run '{run.name}' ended without a summary", "it was killed; run the pipeline again"
        )
    try:
        return RunResult.model_validate_json(text)
    except ValueError as error:
        raise StoreDamaged(f"the summary of '{run.name}' cannot be read", "run it again") from error


def show_run(name: str, uri: str | None, *, as_json: bool) -> None:
    """Print the steps, scores and expectations of a run and where its report is."""
    store = Store.open(store_root(uri), create=False)
    result = _summary(store, name if "/" in name else f"{name}/latest")
    if store.bucket is not None and result.report is not None:
        result = result.model_copy(update={"report": str(store.run(result.run).bring() / PAGE)})
    if as_json:
        print(result.model_dump_json(indent=1))
        return
    for step, outcome in result.steps.items():
        if "[" in step:
            continue  # points: the row of their step counts them
        state = "cached" if outcome.cached else outcome.state
        print(f"{step:<16} {state:<8} {duration(outcome.seconds):>10}  {outcome.message or outcome.key[:12]}")
    show(result)


def write_schema(output: Path | None) -> None:
    """Print the JSON Schema of pipelines, or write it to a file."""
    from schemas.jsonschema import to_text

    if output is None:
        print(to_text(), end="")
    else:
        output.write_text(to_text(), encoding="utf-8")
        print(f"wrote {output}")


def collect(uri: str | None, keep: int, *, dry_run: bool) -> None:
    """Remove what no kept run refers to."""
    found = collect_garbage(Store.open(store_root(uri), create=False), keep_runs=keep, dry_run=dry_run)
    for item in found.removed:
        print(f"{item.path} ({size(item.num_bytes)})")
    print(f"{'would remove' if dry_run else 'removed'} {len(found.removed)} entries, {size(found.num_bytes)}")


def back_up_store(target: Path, uri: str | None) -> str:
    """Copy the store and return what was done, in words."""
    store = Store.open(store_root(uri), create=False)
    if store.bucket is not None:
        raise InvalidInput(
            f"'{store.uri}' is a store in a bucket, and this copies folders",
            "copy it by the means of its object store: versions, replication",
        )
    done = back_up(store.root, target)
    held = f"{done.cycles} cycles with {done.windows} windows"
    return f"copied {done.files} files ({size(done.bytes)}) to {target}, which holds {held}"


def examine(uri: str | None) -> int:
    """Print versions, devices, the server and the state of the store; return 1 where something is damaged."""
    for package, version in versions().items():
        print(f"{package:<12} {version}")
    for name, value in hardware().items():
        print(f"{name:<12} {', '.join(value) or 'none' if isinstance(value, list) else value}")
    print(f"{'server':<12} {_server()}")
    root = store_root(uri)
    if uri is None and not is_bucket(root) and not Path(root).is_dir():
        print(f"{'store':<12} none at {root}")
        return 0
    report = check_store(Store.open(root, create=False))
    sys.stdout.writelines(f"{line}\n" for line in report.lines())
    return 0 if report.is_clean else 1


def _server() -> str:
    from flows.server import find_server

    try:
        return find_server() or "none; `koopcast up` starts one"
    except KoopcastError as error:
        return str(error)
