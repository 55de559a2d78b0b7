"""What would run, in which order, under which keys, and why."""

from collections.abc import Collection, Mapping, MutableMapping
from dataclasses import dataclass, field
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
from schemas.points import At, Instance
from schemas.stages import AssimilateStep, Contract, IngestStep, Step
from schemas.sweep import GridSearch
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
    kind: str | None = None
    """Of the artefact of a step."""


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
    origin: str
    """Name of the step in the file: several are of one where a sweep multiplies it."""
    at: At | None = None
    """Where in the sweep it is."""

    @property
    def kind(self) -> str:
        """What it yields: `dataset`, `model`, `analysis` or `scores`."""
        return self.step.yields.noun

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the planned steps whose output it reads."""
        return tuple(dict.fromkeys(item.step for item in self.inputs if item.step is not None))


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

    def of(self, name: str) -> tuple[Planned, ...]:
        """Return a step of the file, or each of its points; one planned step by its own name.

        Raises:
            InvalidInput: There is none of this name.
        """
        found = tuple(planned for planned in self.steps if name in (planned.name, planned.origin))
        if found or (self.loaded.points is not None and name in self.loaded.points.reach):
            return found
        known = hint(name, dict.fromkeys(planned.origin for planned in self.steps), "steps")
        raise InvalidInput(f"there is no step '{name}'{known}")

    def downstream(self, name: str) -> frozenset[str]:
        """Return a step and all that depends on it, however far."""
        found = {planned.name for planned in self.of(name)}
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
            return self._only(self.of(only), cached, force)
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

    def _only(self, chosen: Collection[Planned], cached: Collection[str], force: bool) -> dict[str, Decision]:
        decisions = {planned.name: Decision("skip", "not chosen") for planned in self.steps}
        for planned in chosen:
            missing = [name for name in planned.needs if name not in cached]
            if missing:
                raise InvalidInput(
                    f"step '{planned.name}' needs '{missing[0]}', which is not in the store",
                    f"run `--only {self[missing[0]].origin}` first, or leave `--only` out",
                )
            is_done = planned.name in cached and not force
            decisions[planned.name] = (
                Decision("cached", "nothing changed") if is_done else Decision("run", "alone")
            )
        return decisions


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
    steps, findings = loaded.pipeline.steps, loaded.findings
    planner = Planner(loaded, lookup, memory)
    for name in ordered(steps):
        if loaded.points is not None and name in loaded.points.reach:
            if isinstance(loaded.points.sweep.search, GridSearch):
                for instance in loaded.instances[name]:
                    planner.add(instance)
        else:
            inputs = {needed: needed for needed in needs(steps[name])}
            contract, cost = findings.contracts.get(name), findings.costs.get(name)
            planner.add(Instance(name, name, At(), steps[name], inputs, contract, cost))
    return Plan(loaded, tuple(planner.done.values()))


@dataclass
class Planner:
    """Plans steps, each after those that it needs."""

    loaded: Loaded
    lookup: Lookup | None
    memory: MutableMapping[str, str] | None
    done: dict[str, Planned] = field(default_factory=dict)

    def add(self, instance: Instance) -> Planned:
        """Return a step planned, if it was not before."""
        if instance.name not in self.done:
            self.done[instance.name] = _planned(instance, self.done, self.loaded, self.lookup, self.memory)
        return self.done[instance.name]


def _planned(
    instance: Instance,
    done: Mapping[str, Planned],
    loaded: Loaded,
    lookup: Lookup | None,
    memory: MutableMapping[str, str] | None,
) -> Planned:
    step, seed, stream = instance.step, loaded.pipeline.seed, instance.step.stream_name(instance.origin)
    if instance.at.repetition > 0:
        seed = derived_seed(seed, "repetition", instance.at.repetition)
    inputs = _inputs(step, {name: done[made] for name, made in instance.inputs.items()}, lookup)
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
        name=instance.name,
        step=step,
        key=key_of(components),
        seed=derived_seed(seed, stream),
        observation_seed=_observation_seed(step, seed),
        inputs=inputs,
        components=components,
        contract=instance.contract,
        cost=instance.cost,
        origin=instance.origin,
        at=instance.at if instance.name != instance.origin else None,
    )


def _inputs(step: Step, done: Mapping[str, Planned], lookup: Lookup | None) -> tuple[Input, ...]:
    result: list[Input] = []
    for link in links(step):
        ref, path = link.ref, ".".join(map(str, link.path))
        if ref.run is None:
            source = done[ref.step]
            result.append(Input(path, str(ref), source.key, source.name, ref.part, source.kind))
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
