"""A tick of a cycle: the model from the store, the windows that are due, and what became of them."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from math import isnan

import pandas as pd
import torch

from koopcast.cycles.archive import Archive, Keeping, Manifest, Mirror
from koopcast.cycles.chain import Chain, FirstGuess
from koopcast.cycles.given import Given
from koopcast.cycles.inbox import Inbox
from koopcast.cycles.tick import Ticker
from koopcast.cycles.work import Ticked, Work
from koopcast.dynamics import Dynamics
from koopcast.errors import InvalidInput, StoreMissing
from koopcast.fields import FieldData
from koopcast.learned import read_model
from koopcast.numerics.geometry import domain_of
from koopcast.stores import Artefact, Store
from koopcast.stores.durable import writing
from koopcast.stores.files import open_data
from schemas.cycle import SUBJECT, Cycle, LoadedCycle
from schemas.expect import Outcome, parse
from schemas.references import SLUG, Ref
from schemas.stages import GenerateStep, TrainStep
from schemas.stages.generate import SYSTEM
from tasks.standing import remember
from tasks.status import climatology_of, write_page
from tasks.workspace import true_model

CYCLES = "cycles"
"""Folder of the archives in a store."""
LOCK_SECONDS = 1.0
"""How long a second writer waits before it is refused, unless it is told to wait longer."""


@dataclass(frozen=True)
class Prepared:
    """A cycle that is ready to tick."""

    cycle: Cycle
    ticker: Ticker
    archive: Archive
    inbox: Inbox
    identity: Mapping[str, str]
    training: FieldData


def prepare(loaded: LoadedCycle, store: Store) -> Prepared:
    """Return the cycle with its model read, its inbox and its archive; nothing is written."""
    cycle = loaded.cycle
    artefact = store.load(store.resolve(f"runs://{cycle.model.run}/{cycle.model.step}"))
    dynamics, training = _model(cycle, artefact, store)
    time = loaded.earlier.contract.fields.time
    records = cycle.records(time.step)
    assert records is not None
    identity = {"options": options_digest(cycle), "model": artefact.ref.digest}
    first_guess: FirstGuess | Given
    if isinstance(cycle.first_guess, Ref):
        guess = store.load(store.resolve(f"runs://{cycle.first_guess.run}/{cycle.first_guess.step}"))
        first_guess = _given(cycle, guess, dynamics, training, records)
        identity["first guess"] = guess.ref.digest
    else:
        first_guess = cycle.first_guess
    chain = Chain(
        dynamics=dynamics,
        method=cycle.method,
        initial=cycle.initial,
        training=training,
        clock=cycle.cycle.clock(),
        records=records,
        seed=cycle.seed,
        noise=cycle.model_noise,
        leads=tuple(cycle.forecast.leads) if cycle.forecast else (),
        thinning=cycle.observations.thinning,
        qc=cycle.observations.qc,
        position=cycle.observations.position,
        heights=cycle.observations.heights(domain_of(training)),
        first_guess=first_guess,
        members=cycle.archive.members,
    )
    archive = _archive(store, cycle.name, cycle.archive.keeping())
    inbox = Inbox(cycle.observations, training.info, chain.clock, archive.inbox)
    ticker = Ticker(chain, inbox, archive, cycle.policy())
    return Prepared(cycle, ticker, archive, inbox, identity, training)


def tick(
    prepared: Prepared,
    moment: pd.Timestamp,
    *,
    force: str | None = None,
    fork: bool = False,
    wait: float = LOCK_SECONDS,
    then: Callable[[Work, Manifest], None] = lambda work, manifest: None,
) -> Ticked:
    """Analyse what is due as the only writer, after at most `wait` seconds of another one.

    Raises:
        StoreLocked: Another process writes to the archive.
        InvalidInput: A reanalysis whose options or model have changed.
        Diverged: The message names the window; those before it are published.
        StoreNotWritable: The disk is full; no window is torn.
    """
    if force is not None:
        prepared.cycle.cycle.clock().number(force)  # a slip of the pen is no failed tick
    torch.set_num_threads(prepared.cycle.threads)
    with _alone(prepared.archive, wait):
        prepared.archive.open(prepared.identity, fork=fork or prepared.cycle.clock == "near_real_time")
        return _ticked(prepared, moment, force, then)


def due(prepared: Prepared, moment: pd.Timestamp, force: str | None) -> tuple[list[Work], int]:
    """Return the windows that a tick would analyse, and how many are left for later ones.

    Raises:
        StoreLocked: Another process writes to the archive.
    """
    with _alone(prepared.archive, LOCK_SECONDS):
        prepared.archive.pull()
        prepared.ticker.scan()
        return prepared.ticker.work(moment, force)


@contextmanager
def _alone(archive: Archive, wait: float) -> Iterator[None]:
    """Hold the lock of an archive."""
    with writing(archive.root):
        archive.root.mkdir(parents=True, exist_ok=True)
        lock = archive.lock()
        lock.acquire(timeout=wait, on_wait=lambda holder, waited: None)
        try:
            yield
        finally:
            lock.release()


def _ticked(
    prepared: Prepared, moment: pd.Timestamp, force: str | None, then: Callable[[Work, Manifest], None]
) -> Ticked:
    try:
        ticked = prepared.ticker.run(moment, force, then)
    except Exception as error:
        with suppress(Exception):  # what failed is more than that it could not be written down
            _tell(prepared, moment, error)
        raise
    _tell(prepared, moment, ticked)
    return ticked


def _tell(prepared: Prepared, moment: pd.Timestamp, ended: Ticked | Exception) -> None:
    """Write down how the tick ended, and the page of the cycle."""
    cycle, training = prepared.cycle, prepared.training
    units = " / ".join(dict.fromkeys(training.info.variables.values()))
    found = outcomes(cycle, ended.done) if isinstance(ended, Ticked) else []
    remember(prepared.archive, cycle, units, moment, ended, found)
    write_page(prepared.archive, partial(climatology_of, training), moment)


def outcomes(cycle: Cycle, done: list[Manifest]) -> list[Outcome]:
    """Return what became of the conditions, on the means of the monitors over some windows.

    Where nothing was used, a condition on what was observed is left out: there is nothing to judge.
    """
    if not done:
        return []
    table = pd.DataFrame([manifest.values["monitors"] for manifest in done]).astype(float)
    scores = {str(name): {SUBJECT: {"all": float(value)}} for name, value in table.mean().items()}
    found = [parse(text).outcome(scores) for text in cycle.expect]
    if any(manifest.values["observations"].get("used") for manifest in done):
        return found
    unknown = {name for name, values in scores.items() if isnan(values[SUBJECT]["all"])}
    return [outcome for outcome in found if not any(f"{name}(" in outcome.text for name in unknown)]


def options_digest(cycle: Cycle) -> str:
    """Return the digest of the options that decide what an archive holds: not when or where it is made."""
    values = cycle.model_dump(
        mode="json",
        exclude={"description", "extends", "schedule", "deploy", "expect", "threads", "max_catchup"},
    )
    observations = values["observations"]
    observations.pop("path", None)
    observations.pop("settle", None)
    (observations.get("ground") or {}).pop("path", None)
    values["cycle"].pop("end", None)
    values.pop("model", None)
    if isinstance(cycle.first_guess, Ref):
        values["first_guess"] = "dataset"
    values["archive"] = {"members": values["archive"]["members"]}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _model(cycle: Cycle, artefact: Artefact, store: Store) -> tuple[Dynamics, FieldData]:
    """Return the model and the fields that it learned from; of a true model, those it made."""
    if cycle.model.part == SYSTEM:
        system = true_model(GenerateStep.model_validate(artefact.manifest.spec), torch.device("cpu"))
        return system, open_data(artefact.path).part_or_all("train")
    model = read_model(artefact.path)
    if not isinstance(model, Dynamics):
        raise InvalidInput(f"'{cycle.model}' forecasts nothing", "name a model of dynamics")
    step = TrainStep.model_validate(artefact.manifest.spec)
    key = artefact.manifest.inputs[str(step.data)]
    data = open_data(store.get("dataset", key).path)
    return model, data.part(step.data.part) if step.data.part else data.part_or_all("train")


def _given(cycle: Cycle, artefact: Artefact, dynamics: Dynamics, training: FieldData, records: int) -> Given:
    """Return a dataset from which windows start.

    Raises:
        InvalidInput: It has no fields for the first window, or lacks cells of the model.
    """
    assert isinstance(cycle.first_guess, Ref)
    data = open_data(artefact.path)
    fields = data if cycle.first_guess.part is None else data.part(cycle.first_guess.part)
    given = Given(fields, cycle.cycle.clock(), records, dynamics.history)
    given.demand_start()
    lacking = int((training.always_valid() & ~fields.always_valid()).sum())
    if lacking:
        raise InvalidInput(
            f"'{cycle.first_guess}' has no data in {lacking} cells that the model forecasts",
            "name a dataset with the mask of the model's",
        )
    return given


def _archive(store: Store, name: str, keeping: Keeping | None = None) -> Archive:
    root, prefix = store.root / CYCLES / name, f"{CYCLES}/{name}"
    return Archive(root, None if store.bucket is None else Mirror(store.bucket, prefix, root), keeping)


def archive_of(store: Store, name: str) -> Archive:
    """Return the archive of a cycle by its name, as it is by now.

    Raises:
        InvalidInput: It is no name.
        StoreMissing: There is none.
    """
    if not re.fullmatch(SLUG, name):
        raise InvalidInput(f"'{name}' is no name of a cycle", "use letters, digits, '_' and '-'")
    archive = _archive(store, name)
    known = _known(store)
    if name not in known:
        raise StoreMissing(
            f"there is no cycle '{name}' in '{store.uri}' (cycles: {', '.join(known or ['none'])})",
            "run the cycle",
        )
    archive.pull()
    return archive


def _known(store: Store) -> list[str]:
    if store.bucket is not None:
        return store.bucket.entries(CYCLES)
    return sorted(path.name for path in (store.root / CYCLES).glob("*") if path.is_dir())
