"""The points of a sweep: which steps it multiplies, with which options, checked like any other step."""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from koopcast.spec import Path
from schemas.check import Findings, Lookup, check_step
from schemas.cost import Cost
from schemas.faults import Fault, PipelineInvalid, hint, shown
from schemas.keys import canonical_json
from schemas.links import broken_links, links, needs, ordered, with_truth
from schemas.merge import with_value
from schemas.positions import Mapping as Document
from schemas.positions import Mark, Node, Scalar, child, mark_of
from schemas.stages import Contract, GatedStep, Step
from schemas.sweep import MOST_POINTS, GridSearch, Range, Sweep

Validate = Callable[[str, Document], Step]
"""(name of a step, document) -> the step that the document writes; raises PipelineInvalid."""


@dataclass(frozen=True)
class At:
    """A combination of values, as far as it reaches a step."""

    values: tuple[tuple[str, str], ...] = ()
    """Path of an option, and its value as JSON, in the order of the axes."""
    repetition: int = 0
    """0 for the random numbers that the step has without a sweep."""

    def on(self, paths: tuple[str, ...], *, repeated: bool) -> "At":
        """Return the part that reaches a step."""
        values = tuple(pair for pair in self.values if pair[0] in paths)
        return At(values, self.repetition if repeated else 0)

    def value(self, path: str) -> Any:
        """Return the value of an axis; None where it does not reach the step."""
        text = dict(self.values).get(path)
        return None if text is None else json.loads(text)

    def label(self, names: Mapping[str, str]) -> str:
        """Return the values in words: `factor=1.02, seed=1`."""
        parts = [f"{names[path]}={text.strip(chr(34))}" for path, text in self.values]
        return ", ".join(parts + ([f"seed={self.repetition}"] if self.repetition else []))


@dataclass(frozen=True)
class Instance:
    """A step at a point."""

    name: str
    origin: str
    """Name of the step in the file."""
    at: At
    step: Step
    """Without its conditions: they are on the optimum."""
    inputs: Mapping[str, str]
    """Step that a reference names -> the step, or instance, that is read."""
    contract: Contract | None
    cost: Cost | None


@dataclass
class Points:
    """The steps of a pipeline that its sweep multiplies.

    Args:
        sweep: What varies.
        root: The document.
        steps: All steps as the file writes them, without the truths that are filled in.
        linked: The same with them.
        known: Contracts of the steps that are not multiplied.
    """

    sweep: Sweep
    root: Document
    steps: Mapping[str, Step]
    linked: Mapping[str, Step]
    known: Mapping[str, Contract]
    validate: Validate
    lookup: Lookup | None
    workers: int
    names: dict[str, str] = field(init=False)
    """Path -> the shortest end of it that no other axis has."""
    reach: dict[str, tuple[str, ...]] = field(init=False)
    """Step -> the axes that reach it; a step without any is not here."""

    def __post_init__(self) -> None:
        self.names = shortest_names(list(self.sweep.over))
        self._made: dict[tuple[str, At], Instance] = {}
        self._variants: dict[tuple[str, At], Step] = {}
        self._needs = {name: self._all_needs(name) for name in self.steps}
        self.reach, self._repeated = {}, set[str]()
        for name in ordered(self.steps):
            self._find_reach(name)

    def _own(self, name: str) -> tuple[str, ...]:
        return tuple(path for path in self.sweep.over if path.split(".")[1] == name)

    def _all_needs(self, name: str) -> tuple[str, ...]:
        """Return what a step needs at any value: an axis may vary a reference."""
        found = dict.fromkeys((*needs(self.steps[name]), *needs(self.linked[name])))
        for path in self._own(name):
            for value in self.sweep.values(path):
                with suppress(PipelineInvalid):  # told when the point is made
                    found |= dict.fromkeys(needs(self._variant(name, At(((path, canonical_json(value)),)))))
        return tuple(found)

    def _find_reach(self, name: str) -> None:
        above = [other for other in self._needs[name] if other in self.reach or other in self._repeated]
        own = self._own(name)
        reaching = {*own, *(path for other in above for path in self.reach.get(other, ()))}
        if own or name in self.sweep.redraw or any(other in self._repeated for other in above):
            self._repeated.add(name)
        if reaching or name in self._repeated:
            self.reach[name] = tuple(path for path in self.sweep.over if path in reaching)

    def at_all(self, name: str) -> Iterator[At]:
        """Yield the combinations of a grid that reach a step, repetitions fastest."""
        paths = self.reach[name]
        repetitions = range(self.sweep.seeds if name in self._repeated else 1)
        values = ([(path, canonical_json(v)) for v in self.sweep.values(path)] for path in paths)
        for chosen in itertools.product(*values):
            for repetition in repetitions:
                yield At(chosen, repetition)

    def at_some(self, name: str) -> Iterator[At]:
        """Yield combinations that show what may be wrong: all of a grid; else each axis at each of its values
        or ends, the others at their first.
        """
        if isinstance(self.sweep.search, GridSearch):
            yield from self.at_all(name)
            return
        values = {path: [canonical_json(v) for v in self.sweep.values(path)] for path in self.reach[name]}
        first = {path: texts[0] for path, texts in values.items()}
        for path, texts in values.items():
            for text in texts:
                yield At(tuple({**first, path: text}.items()))

    def count(self, name: str) -> int:
        """Return how many times a step runs."""
        if not isinstance(self.sweep.search, GridSearch):
            outer = len(self.sweep.values(self.sweep.per)) if self.sweep.per in self.reach[name] else 1
            trials = outer * self.sweep.search.trials if self.reach[name] else 1
            return trials * (self.sweep.seeds if name in self._repeated else 1)
        sizes = [len(self.sweep.values(path)) for path in self.reach[name]]
        total = self.sweep.seeds if name in self._repeated else 1
        for size in sizes:
            total *= size
        return total

    def instance(self, name: str, at: At) -> Instance:
        """Return a step at a point, checked.

        Raises:
            PipelineInvalid: It cannot be: each fault at the value that makes it.
        """
        at = at.on(self.reach.get(name, ()), repeated=name in self._repeated)
        if (name, at) not in self._made:
            self._made[name, at] = self._make(name, at)
        return self._made[name, at]

    def _make(self, name: str, at: At) -> Instance:
        step = self._variant(name, at.on(self._own(name), repeated=False))
        problems = list(broken_links(name, links(step), self.steps))
        if problems:
            raise self._refused(name, at, [(problem.path[2:], problem.message) for problem in problems])
        linked = with_truth(step, {**self.steps, **{o: one.step for o, one in self._above(step, at).items()}})
        if isinstance(linked, str):
            raise self._refused(name, at, [(("of",), linked)])
        above, label = self._above(linked, at), at.label(self.names)
        if isinstance(linked, GatedStep):
            linked = linked.model_copy(update={"expect": []})
        contracts = {other: one.contract for other, one in above.items() if one.contract is not None}
        findings = Findings(contracts={**self.known, **contracts})
        found = [
            (problem.path, problem.message)
            for problem in check_step(name, linked, findings, self.lookup, self.workers)
        ]
        if found:
            raise self._refused(name, at, found)
        return Instance(
            name=f"{name}[{label or 'seed=0'}]",
            origin=name,
            at=at,
            step=linked,
            inputs={other: above[other].name if other in above else other for other in needs(linked)},
            contract=findings.contracts.get(name),
            cost=findings.costs.get(name),
        )

    def _above(self, step: Step, at: At) -> dict[str, Instance]:
        """Return the multiplied steps that a step needs, at its point."""
        return {other: self.instance(other, at) for other in needs(step) if other in self.reach}

    def _variant(self, name: str, own: At) -> Step:
        if not own.values:
            return self.steps[name]
        if (name, own) not in self._variants:
            try:
                self._variants[name, own] = self.validate(name, self._document(own))
            except PipelineInvalid as error:
                where = self._where(own)
                faults = [replace(fault, message=f"{fault.message}{where}") for fault in error.faults]
                raise PipelineInvalid(faults) from None
        return self._variants[name, own]

    def _where(self, at: At) -> str:
        return f" (at {at.label(self.names)} of the sweep)"

    def _document(self, at: At) -> Document:
        document = self.root
        for path, text in at.values:
            document = with_value(document, path, self._node(path, text))
        return document

    def _node(self, path: str, text: str) -> Node:
        """Return a value with its place in the file: that in the list, or that of the range."""
        axis, value = mark_of(self.root, ("sweep", "over", path)), json.loads(text)
        written = axis_node(self.root, path)
        values = self.sweep.over[path]
        if not isinstance(values, Range) and value in values and written is not None:
            found = child(written, values.index(value))
            assert found is not None
            return found
        return Scalar(value, axis)

    def _refused(self, name: str, at: At, problems: list[tuple[Path, str]]) -> PipelineInvalid:
        document, where = self._document(at), self._where(at)
        return PipelineInvalid(
            mark_of(document, ("steps", name, *path)).fault(("steps", name, *path), f"{message}{where}")
            for path, message in problems
        )

    def overlay(self, at: At) -> dict[str, Any]:
        """Return the values of a point as a document that can be laid over the file."""
        result: dict[str, Any] = {}
        for path, _ in at.values:
            block = result
            *above, last = path.split(".")
            for part in above:
                block = block.setdefault(part, {})
            block[last] = at.value(path)
        return result


def axis_node(root: Document, path: str) -> Node | None:
    """Return the values of an axis as they are written."""
    sweep = child(root, "sweep")
    over = child(sweep, "over") if sweep is not None else None
    return child(over, path) if over is not None else None


def shortest_names(paths: list[str]) -> dict[str, str]:
    """Return for each path the shortest end that no other has: `factor`, or `etkf.method.members`."""
    result = {}
    for path in paths:
        parts = path.split(".")
        ends = (".".join(parts[start:]) for start in range(len(parts) - 1, 0, -1))
        others = [other for other in paths if other != path]
        result[path] = next((e for e in ends if not any(o.endswith(f".{e}") for o in others)), path)
    return result


def misplaced(sweep: Sweep, root: Document, steps: Mapping[str, Step | None]) -> Iterator[Fault]:
    """Yield the axes and names that lead nowhere, before any point is looked at."""
    for path in sweep.over:
        mark, parts = _key_mark(root, path), path.split(".")
        if len(parts) < 3 or parts[0] != "steps" or not all(parts):
            message = f"a sweep varies an option of a step; write steps.<step>.<option>, not {shown(path)}"
            yield mark.fault(("sweep", "over", path), message)
        elif parts[1] not in steps:
            message = f"there is no step '{parts[1]}'{hint(parts[1], steps, 'steps')}"
            yield mark.fault(("sweep", "over", path), message)
        elif parts[2] in ("task", "expect"):
            message = f"`{parts[2]}` cannot vary; name another option"
            yield mark.fault(("sweep", "over", path), message)
    for index, name in enumerate(sweep.redraw):
        if name not in steps:
            place: Path = ("sweep", "redraw", index)
            yield mark_of(root, place).fault(place, f"there is no step '{name}'{hint(name, steps, 'steps')}")


def _key_mark(root: Document, path: str) -> Mark:
    return mark_of(root, ("sweep", "over", path), key=True)


def expanded(points: Points) -> tuple[dict[str, tuple[Instance, ...]], list[Fault]]:
    """Return the instances of each multiplied step, and every fault, each once.

    They are all of a grid, and those of `at_some` for a search that chooses its points.
    """
    found: dict[str, tuple[Instance, ...]] = {}
    faults: dict[tuple[str, str], Fault] = {}
    for name in points.reach:
        if (count := points.count(name)) > MOST_POINTS:
            message = f"'{name}' would run {count} times, more than {MOST_POINTS}; vary less"
            return {}, [mark_of(points.root, ("sweep", "over")).fault(("sweep", "over"), message)]
    for name in (name for name in ordered(points.steps) if name in points.reach):
        made = []
        for at in points.at_some(name):
            try:
                made.append(points.instance(name, at))
            except PipelineInvalid as error:
                for one in error.faults:
                    plain = one.message.partition(" (at ")[0]
                    faults.setdefault((one.path, plain), one)
        found[name] = tuple(made)
    return found, list(faults.values())


def without_conditions(steps: Mapping[str, Step], names: Mapping[str, Any]) -> dict[str, Step]:
    """Return steps, the multiplied ones among them without conditions: these are on the optimum."""
    return {
        name: step.model_copy(update={"expect": []})
        if name in names and isinstance(step, GatedStep)
        else step
        for name, step in steps.items()
    }
