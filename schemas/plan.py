"""What would run, in which order, under which keys, and why."""

from collections.abc import Collection, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from koopcast.errors import InvalidInput
from koopcast.rng import derived_seed
from koopcast.spec import Spec
from schemas.check import Lookup
from schemas.cost import Cost
from schemas.digests import digest
from schemas.faults import hint
from schemas.keys import FORMAT, canonical_json, key_of, key_options
from schemas.keys import explain as explain
from schemas.links import links, needs, ordered
from schemas.pipeline import Loaded
from schemas.stages import AssimilateStep, Contract, IngestStep, Step
from schemas.version import versions


@dataclass(frozen=True)
class Input:
    """What a step reads: where its reference stands, and the key of the artefact."""

    path: str
    ref: str
    key: str
    step: str | None
    """None for an artefact of an earlier run."""
    part: str | None


@dataclass(frozen=True)
class Planned:
    """One step, with everything that decides its result."""

    name: str
    step: Step
    key: str
    seed: int
    observation_seed: int | None
    """Of `assimilate` steps: equal wherever observations, data and repeats are, so that methods meet the
    same ones.
    """
    inputs: tuple[Input, ...]
    components: dict[str, Any]
    """What the key is the digest of: options, inputs, files, code, seeds. For manifests and `explain`."""
    contract: Contract | None
    """None where it depends on an earlier run that was not looked up."""
    cost: Cost | None

    @property
    def kind(self) -> str:
        """What it yields: `dataset`, `model`, `analysis` or `scores`."""
        return self.step.yields.noun

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the steps whose output it reads."""
        return needs(self.step)


@dataclass(frozen=True)
class Decision:
    """What will be done with a step, and why."""

    action: Literal["run", "cached", "skip"]
    reason: str


@dataclass(frozen=True)
class Plan:
    """The steps of a pipeline, each after what it needs."""

    loaded: Loaded
    steps: tuple[Planned, ...]

    def __getitem__(self, name: str) -> Planned:
        """Return a step by name.

        Raises:
            InvalidInput: There is none of this name.
        """
        for planned in self.steps:
            if planned.name == name:
                return planned
        known = hint(name, (planned.name for planned in self.steps), "steps")
        raise InvalidInput(f"there is no step '{name}'{known}")

    def downstream(self, name: str) -> frozenset[str]:
        """Return a step and all that depends on it, however far."""
        found = {self[name].name}
        for planned in self.steps:
            if found & set(planned.needs):
                found.add(planned.name)
        return frozenset(found)

    def select(
        self,
        cached: Collection[str],
        *,
        from_: str | None = None,
        only: str | None = None,
        force: bool = False,
    ) -> dict[str, Decision]:
        """Return what to do with each step, in order.

        Args:
            cached: Names of the steps whose artefacts are in the store.
            from_: Run this step and all below it, cached or not.
            only: Run this step alone.
            force: Run what is cached too.

        Raises:
            InvalidInput: No such step, both options at once, or an input of `only` is not in the store.
        """
        if only is not None and from_ is not None:
            raise InvalidInput("`--only` and `--from` exclude each other", "choose one")
        if only is not None:
            return self._only(self[only], cached, force)
        forced = self.downstream(from_) if from_ is not None else frozenset()
        decisions: dict[str, Decision] = {}
        for planned in self.steps:
            if force or planned.name in forced:
                decisions[planned.name] = Decision("run", "forced" if force else f"from '{from_}' on")
            elif planned.name in cached:
                decisions[planned.name] = Decision("cached", "nothing changed")
            else:
                decisions[planned.name] = Decision("run", "not made yet")
        return decisions

    def _only(self, chosen: Planned, cached: Collection[str], force: bool) -> dict[str, Decision]:
        missing = [name for name in chosen.needs if name not in cached]
        if missing:
            raise InvalidInput(
                f"step '{chosen.name}' needs '{missing[0]}', which is not in the store",
                f"run `--only {missing[0]}` first, or leave `--only` out",
            )
        is_done = chosen.name in cached and not force
        own = Decision("cached", "nothing changed") if is_done else Decision("run", "alone")
        return {p.name: own if p.name == chosen.name else Decision("skip", "not chosen") for p in self.steps}


def make_plan(
    loaded: Loaded, *, lookup: Lookup | None = None, memory: MutableMapping[str, str] | None = None
) -> Plan:
    """Return the plan of a checked pipeline.

    Args:
        loaded: From `schemas.pipeline.load`.
        lookup: Knows the artefacts of earlier runs.
        memory: Remembers digests of external files, see `schemas.digests.digest`.

    Raises:
        InvalidInput: An artefact of an earlier run is named and there is no `lookup`.
        StoreMissing: It is not in the store.
        MissingFile: An external file cannot be read.
    """
    steps, done = loaded.pipeline.steps, dict[str, Planned]()
    for name in ordered(steps):
        done[name] = _planned(name, steps[name], done, loaded, lookup, memory)
    return Plan(loaded, tuple(done.values()))


def _planned(
    name: str,
    step: Step,
    done: Mapping[str, Planned],
    loaded: Loaded,
    lookup: Lookup | None,
    memory: MutableMapping[str, str] | None,
) -> Planned:
    seed, stream = loaded.pipeline.seed, step.stream_name(name)
    inputs = _inputs(step, done, lookup)
    components = {
        "format": FORMAT,
        "task": str(getattr(step, "task", "")),
        "options": key_options(step),
        "inputs": {item.path: {"key": item.key, "part": item.part, "ref": item.ref} for item in inputs},
        "files": _files(step, memory),
        "code": versions(_modules(step)),
        "seed": derived_seed(seed, stream),
        "observation_seed": _observation_seed(step, seed),
    }
    return Planned(
        name=name,
        step=step,
        key=key_of(components),
        seed=derived_seed(seed, stream),
        observation_seed=_observation_seed(step, seed),
        inputs=inputs,
        components=components,
        contract=loaded.findings.contracts.get(name),
        cost=loaded.findings.costs.get(name),
    )


def _inputs(step: Step, done: Mapping[str, Planned], lookup: Lookup | None) -> tuple[Input, ...]:
    result: list[Input] = []
    for link in links(step):
        ref, path = link.ref, ".".join(map(str, link.path))
        if ref.run is None:
            result.append(Input(path, str(ref), done[ref.step].key, ref.step, ref.part))
        elif lookup is None:
            raise InvalidInput(
                f"'{ref}' is of an earlier run, and no store is at hand", "give its store with --store"
            )
        else:
            result.append(Input(path, str(ref), lookup(ref).key, None, ref.part))
    return tuple(result)


def _files(step: Step, memory: MutableMapping[str, str] | None) -> dict[str, str]:
    if not isinstance(step, IngestStep):
        return {}
    files: list[Path] = step.source.files()
    return {f"{index}:{file.name}": digest(file, memory) for index, file in enumerate(files)}


def _modules(step: Step) -> set[str]:
    """Return the modules that do a step's work: those of its methods, and of the verb itself."""
    found = set(step.modules())

    def visit(value: Any) -> None:
        if isinstance(value, Spec):
            module = type(value).__module__
            if module.split(".")[0] != "schemas":
                found.add(module)
            for name in type(value).model_fields:
                visit(getattr(value, name))
        elif isinstance(value, (list, tuple)):
            for item in value:
                visit(item)
        elif isinstance(value, dict):
            visit(list(value.values()))

    visit(step)
    return found


def _observation_seed(step: Step, seed: int) -> int | None:
    if not isinstance(step, AssimilateStep):
        return None
    stream = {
        "observations": step.observations.drawn(),
        "data": str(step.data),
        "repeats": step.repeats,
    }
    return derived_seed(seed, "observations", canonical_json(stream))
