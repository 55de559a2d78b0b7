"""Shapes through the whole pipeline before anything runs, and every rule on the way."""

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from koopcast.devices import resolve
from koopcast.errors import InvalidInput, KoopcastError
from koopcast.grids import FieldsInfo
from koopcast.spec import Path, Problem, Spec
from schemas.cost import Cost, human, physical_memory, predict
from schemas.links import links, ordered
from schemas.references import Model, Ref, wanted
from schemas.stages import Contract, Step
from schemas.stages.base import Inputs
from schemas.stages.generate import SYSTEM


@dataclass(frozen=True)
class Earlier:
    """An artefact of an earlier run."""

    contract: Contract
    key: str


Lookup = Callable[[Ref[Any]], Earlier]
"""Knows the artefacts of earlier runs (`runs://...`); raises StoreMissing where there is none."""


@dataclass
class Findings:
    """What the check of a pipeline found."""

    contracts: dict[str, Contract] = field(default_factory=dict)
    """Step -> contract of its output, for the steps that could be checked."""
    inputs: dict[str, Inputs] = field(default_factory=dict)
    """Step -> contract of each of its references, by text."""
    costs: dict[str, Cost] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    """Paths from the top of the document."""


def check(steps: Mapping[str, Step], lookup: Lookup | None = None, workers: int = 2) -> Findings:
    """Return contracts, costs and broken rules of linked steps without loops.

    `workers` blocks of samples are made side by side.
    Steps below one that is faulty, or below an earlier run that cannot be looked up, are left out.
    """
    findings = Findings()
    for name in ordered(steps):
        problems = [
            problem.below("steps", name)
            for problem in check_step(name, steps[name], findings, lookup, workers)
        ]
        findings.problems.extend(problems)
    return findings


def check_step(
    name: str, step: Step, findings: Findings, lookup: Lookup | None, workers: int
) -> Iterator[Problem]:
    """Yield what a step breaks, by its own paths; note its contract, inputs and cost in `findings`, which
    holds the contracts of the steps that it needs.
    """
    yield from _device(step)
    inputs = yield from _inputs(step, findings.contracts, lookup)
    if inputs is None:
        return
    findings.inputs[name] = inputs
    try:
        outline = step.outline(inputs)
    except KoopcastError as error:
        yield Problem(step.faulty_option(error), str(error))
        return
    cost = predict(step, inputs, outline, workers)
    too_big = list(_memory(cost))
    yield from too_big
    if too_big:
        return
    findings.contracts[name], findings.costs[name] = outline, cost
    yield from _guarded(lambda: step.rules(inputs), ())
    yield from broken_rules(step, outline.fields)


def _inputs(
    step: Step, known: Mapping[str, Contract], lookup: Lookup | None
) -> Generator[Problem, None, dict[str, Contract] | None]:
    result: dict[str, Contract] = {}
    is_complete = True
    for link in links(step):
        if link.ref.run is None:
            contract = _part(known.get(link.ref.step), link.ref)
        else:
            contract = None
            if lookup is not None:
                try:
                    contract = fitting(link.ref, lookup(link.ref).contract)
                except KoopcastError as error:
                    yield Problem(link.path, str(error))
        if contract is None:
            is_complete = False
        else:
            result[str(link.ref)] = contract
    return result if is_complete else None


def fitting(ref: Ref[Any], found: Contract) -> Contract:
    """Return the contract of what a reference names in an earlier run.

    Raises:
        InvalidInput: It is of another kind, or has no such part.
    """
    if ref.kinds and found.kind not in ref.kinds:
        raise InvalidInput(
            f"'{ref}' is {wanted((found.kind,))}, expected {wanted(ref.kinds)}", "name another step"
        )
    if ref.part not in (None, SYSTEM, *found.fields.parts):
        parts = ", ".join(found.fields.parts) or "none"
        raise InvalidInput(f"'{ref.label}' has no part '{ref.part}' (parts: {parts})", "name another")
    return found.part(ref.part)


def _part(contract: Contract | None, ref: Ref[Any]) -> Contract | None:
    if contract is None or ref.part is None:
        return contract
    if ref.part == SYSTEM:
        return Contract(Model, contract.fields, Ref(ref.step))
    return contract.part(ref.part)


def broken_rules(spec: Spec, fields: FieldsInfo, path: Path = ()) -> Iterator[Problem]:
    """Yield what every spec below `spec` breaks on `fields`."""
    for name in type(spec).model_fields:
        for below, value in _specs_in(getattr(spec, name), (*path, name)):
            yield from _guarded(partial(value.check, fields), below)
            yield from broken_rules(value, fields, below)


def _specs_in(value: Any, path: Path) -> Iterator[tuple[Path, Spec]]:
    if isinstance(value, Spec):
        yield path, value
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _specs_in(item, (*path, index))
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _specs_in(item, (*path, name))


def _guarded(rules: Callable[[], Iterator[Problem]], path: Path) -> Iterator[Problem]:
    """Yield the problems of `rules` below `path`; an error that a rule raises is a problem too."""
    try:
        for problem in rules():
            yield problem.below(*path)
    except KoopcastError as error:
        yield Problem(path, str(error))


def _device(step: Step) -> Iterator[Problem]:
    try:
        resolve(step.device)
    except KoopcastError as error:
        yield Problem(("device",), str(error))


def _memory(cost: Cost) -> Iterator[Problem]:
    available = physical_memory()
    if available is not None and cost.memory > available:
        yield Problem(
            (),
            f"needs about {human(cost.memory)} of memory, this machine has {human(available)}; fewer or "
            "smaller samples, records, members or repeats",
        )
