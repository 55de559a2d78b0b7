"""From a request to a checked plan; nothing is written but the root of the store."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flows import lock
from flows.earlier import contract_to_json, kind_of, lookup
from flows.memory import DigestMemory
from flows.request import Request
from koopcast.errors import StoreDamaged
from koopcast.sources.paths import demand_root
from koopcast.stores import Store
from schemas.pipeline import load
from schemas.plan import Decision, Plan, Planned, make_plan
from tasks.job import Input, Job


@dataclass(frozen=True)
class Prepared:
    """A request that was checked and planned."""

    request: Request
    store: Store
    plan: Plan
    decisions: Mapping[str, Decision]
    forced: frozenset[str]
    """Steps that run although the store has their result."""


def store_root(uri: str | None) -> str:
    """Return the root of the store: as given, else `KOOPCAST_STORE`, else `./runs`.

    Raises:
        OutsideRoots: It lies outside of `KOOPCAST_ROOTS`.
    """
    root = uri or os.environ.get("KOOPCAST_STORE") or "runs"
    if "://" not in root:
        demand_root(Path(root).expanduser())
    return root


def prepare(request: Request) -> Prepared:
    """Check the file whole, then plan against the store.

    Raises:
        PipelineInvalid: With every fault at once.
        InvalidInput: `--from`, `--only` or `--locked` cannot be followed.
        StoreError: The store cannot be opened.
    """
    store, plan = make(request.pipeline, request.overrides, request.store)
    found = [name for name, whole in cached(plan, store).items() if whole]
    decisions = plan.select(found, from_=request.from_, only=request.only, force=request.force)
    if request.locked:
        lock.refuse_drift(plan, store)
    forced = frozenset(name for name in found if decisions[name].action == "run")
    return Prepared(request, store, plan, decisions, forced)


def make(file: str, overrides: Sequence[str], uri: str | None) -> tuple[Store, Plan]:
    """Return the store and the plan of a file, which is checked before the store is touched."""
    root = store_root(uri)
    known = lookup(root)
    loaded = load(file, overrides, known)
    store = Store.open(root)
    with DigestMemory(store) as memory:
        return store, make_plan(loaded, lookup=known, memory=memory)


def cached(plan: Plan, store: Store) -> dict[str, bool]:
    """Return the steps that the store holds a result of, and whether it is whole."""
    found = {}
    for step in plan.steps:
        try:
            artefact = store.find(step.kind, step.key)
            if artefact is None:
                continue
            store.verify(artefact)
            found[step.name] = True
        except StoreDamaged:
            found[step.name] = False
    return found


def job(prepared: Prepared, planned: Planned, beside: Sequence[Planned] = ()) -> Job:
    """Return one step as a task takes it, with the points of a sweep that are computed beside it."""
    plan, root = prepared.plan, prepared.store.uri
    inputs = {
        item.ref: Input(kind=item.kind or kind_of(root, item.ref), key=item.key, part=item.part)
        for item in planned.inputs
    }
    return Job(
        store=root,
        pipeline=plan.loaded.pipeline.name,
        name=planned.name,
        kind=planned.kind,
        key=planned.key,
        step=planned.step,
        seed=planned.seed,
        observation_seed=planned.observation_seed,
        inputs=inputs,
        components=planned.components,
        contract=contract_to_json(planned.contract) if planned.contract else None,
        threads=plan.loaded.pipeline.threads,
        force=planned.name in prepared.forced,
        beside=[job(prepared, other) for other in beside],
    )
