"""The edges of a pipeline: every reference found, typed against what it names, loops refused."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from koopcast.spec import Path, Problem, Spec
from schemas.faults import hint
from schemas.references import PATTERN, Dataset, Kind, Model, Ref, kinds_of, wanted
from schemas.stages import AssimilateStep, EvaluateStep, GenerateStep, Step, TrainStep

FORM = re.compile(PATTERN)
"""Of a reference."""


@dataclass(frozen=True)
class Link:
    """A reference where it stands in a step."""

    path: Path
    ref: Ref[Any]


def links(step: Spec, prefix: Path = ()) -> Iterator[Link]:
    """Yield the references of a step, in the order of its fields."""
    for name in type(step).model_fields:
        yield from _links_in(getattr(step, name), (*prefix, name))


def _links_in(value: Any, path: Path) -> Iterator[Link]:
    if isinstance(value, Ref):
        yield Link(path, value)
    elif isinstance(value, Spec):
        yield from links(value, path)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _links_in(item, (*path, index))
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _links_in(item, (*path, name))


def written_links(step: type[Step], written: Mapping[str, Any]) -> Iterator[Link]:
    """Yield the references in a step that is not valid as a whole, as far as they have the form of one."""
    for name, field in step.model_fields.items():
        kinds, value = _kinds_in(field.annotation), written.get(name)
        if kinds is None:
            continue
        places: Iterable[tuple[int | str | None, Any]] = [(None, value)]
        if isinstance(value, list):
            places = enumerate(value)
        elif isinstance(value, dict):
            places = value.items()
        for index, text in places:
            if isinstance(text, str) and FORM.fullmatch(text):
                yield Link((name,) if index is None else (name, index), Ref.parse(text, kinds))


def _kinds_in(annotation: Any) -> tuple[type[Kind], ...] | None:
    """Return what the references of a field may name; None for a field that holds none."""
    if get_origin(annotation) is Ref:
        return kinds_of(annotation)
    found = (_kinds_in(item) for item in get_args(annotation))
    return next((kinds for kinds in found if kinds is not None), None)


def needs(step: Step) -> tuple[str, ...]:
    """Return the names of the steps whose output a step reads, each once."""
    return tuple(dict.fromkeys(link.ref.step for link in links(step) if link.ref.run is None))


def broken_links(name: str, found: Iterable[Link], steps: Mapping[str, Step | None]) -> Iterator[Problem]:
    """Yield the references of step `name` that name nothing, or the wrong thing.

    Args:
        name: Of the step.
        found: Its references.
        steps: All steps by name; None for one that is not valid itself, of which nothing more is known.
    """
    for link in found:
        message = _broken(name, link.ref, steps)
        if message:
            yield Problem(("steps", name, *link.path), message)


def _broken(name: str, ref: Ref[Any], steps: Mapping[str, Step | None]) -> str | None:
    if ref.run is not None:
        return None
    if ref.step == name:
        return f"step '{name}' refers to itself; name another step"
    if ref.step not in steps:
        return f"there is no step '{ref.step}'{hint(ref.step, steps, 'steps')}"
    target = steps[ref.step]
    if target is None:
        return None
    parts = target.parts()
    if ref.part is not None and ref.part not in parts:
        known = ", ".join(parts) or "none"
        return f"step '{ref.step}' has no part '{ref.part}'{_closest(ref.part, parts)} (parts: {known})"
    kind = parts[ref.part] if ref.part is not None else target.yields
    if ref.kinds and kind not in ref.kinds:
        return _wrong_kind(ref, kind, steps)
    return None


def _closest(part: str, parts: Mapping[str, Any]) -> str:
    return hint(part, parts).partition(" (")[0]


def _wrong_kind(ref: Ref[Any], kind: type[Kind], steps: Mapping[str, Step | None]) -> str:
    fitting = [
        text
        for name, step in steps.items()
        if step is not None
        for text, found in {
            name: step.yields,
            **{f"{name}.{part}": k for part, k in step.parts().items()},
        }.items()
        if found in ref.kinds
    ]
    remedy = (
        f"name one of: {', '.join(fitting)}" if fitting else f"add a step that yields {wanted(ref.kinds)}"
    )
    return f"'{ref}' is {wanted((kind,))}, expected {wanted(ref.kinds)}; {remedy}"


def loop(steps: Mapping[str, Step]) -> tuple[str, ...] | None:
    """Return the names along a loop of references, the first repeated at the end; None where there is none.

    A step that refers to itself is refused as a broken link.
    """
    state: dict[str, bool] = {}

    def visit(name: str, trail: tuple[str, ...]) -> tuple[str, ...] | None:
        if name in trail:
            return (*trail[trail.index(name) :], name)
        if state.get(name) or name not in steps:
            return None
        others = (other for other in needs(steps[name]) if other != name)
        found = next(filter(None, (visit(other, (*trail, name)) for other in others)), None)
        state[name] = True
        return found

    return next(filter(None, (visit(name, ()) for name in steps)), None)


def ordered(steps: Mapping[str, Step]) -> tuple[str, ...]:
    """Return the names so that every step comes after what it needs, else in the order of the file;
    without loops.
    """
    result: dict[str, None] = {}

    def visit(name: str) -> None:
        if name in steps and name not in result:
            for other in needs(steps[name]):
                visit(other)
            result[name] = None

    for name in steps:
        visit(name)
    return tuple(result)


def with_truth(step: Step, steps: Mapping[str, Step | None]) -> Step | str:
    """Return an `evaluate` step with its `data` named, other steps as they are, or what stands in the way.

    The truth of forecasts is the `test` part of what the models were trained on (the whole where it is not
    split),
    of analyses alone the data that they were made of.
    """
    if not isinstance(step, EvaluateStep) or step.data is not None:
        return step
    truths: dict[str, Ref[Dataset] | None] = {}
    for ref in sorted(step.of, key=lambda ref: not _is_model(ref, steps)):
        if not truths or _is_model(ref, steps):
            truth = _truth(ref, steps)
            truths[str(truth)] = truth
    found = next(iter(truths.values()))
    if len(truths) > 1:
        return (
            f"the models were learned from different data ({', '.join(truths)}); name the truth with `data`"
        )
    if found is None and any(ref.run is not None for ref in step.of):
        return "what an earlier run was made from is not known here; name the truth with `data`"
    return step.model_copy(update={"data": found})


def _is_model(ref: Ref[Any], steps: Mapping[str, Step | None]) -> bool:
    step = steps.get(ref.step) if ref.run is None else None
    return step is not None and (step.parts().get(ref.part) if ref.part else step.yields) is Model


def _truth(ref: Ref[Any], steps: Mapping[str, Step | None]) -> Ref[Dataset] | None:
    match steps.get(ref.step) if ref.run is None else None:
        case AssimilateStep() as step:
            return step.data
        case TrainStep() as step:
            return _test_part(step.data, steps)
        case GenerateStep():
            return _test_part(Ref(ref.step), steps)
        case _:
            return None


def _test_part(data: Ref[Any], steps: Mapping[str, Step | None]) -> Ref[Dataset] | None:
    step = steps.get(data.step) if data.run is None else None
    if step is None:
        return None
    return Ref(data.step, "test" if "test" in step.parts() else None, None, (Dataset,))
