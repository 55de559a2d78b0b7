"""What conditions may say of a sweep: scores at the optimum, and means of what does not vary."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.util import find_spec

from koopcast.spec import Problem
from schemas.expect import ExpectationError, Vocabulary, parse
from schemas.faults import hint
from schemas.points import Points
from schemas.stages import EvaluateStep, GatedStep
from schemas.stages.base import Inputs
from schemas.sweep import BEST, GridSearch


def gated(points: Points) -> dict[str, GatedStep]:
    """Return the multiplied steps with scores."""
    return {
        name: step
        for name, step in points.linked.items()
        if name in points.reach and isinstance(step, GatedStep)
    }


def axes_of(subject: str, name: str, points: Points) -> tuple[str, ...]:
    """Return the axes that reach a subject of the step `name`; none for a baseline."""
    step = points.linked[name]
    if not isinstance(step, EvaluateStep):
        return points.reach[name]
    found = {path for path in points.reach[name] if path.split(".")[1] == name}
    for ref in step.of:
        if subject == ref.label or subject.startswith(f"{ref.label}."):
            found |= set(points.reach.get(ref.step, ()))
    return tuple(path for path in points.reach[name] if path in found)


def subject_name(subject: str, name: str, points: Points) -> str:
    """Return how conditions and tables call a subject: `etkf.best` where something of it varies."""
    return f"{subject}.{BEST}" if axes_of(subject, name, points) else subject


def vocabulary(name: str, step: GatedStep, points: Points, inputs: Inputs) -> Vocabulary:
    """Return the words of conditions on the optimum of a multiplied step."""
    words, per = step.vocabulary(inputs), points.sweep.per
    subjects = {subject_name(subject, name, points): places for subject, places in words.subjects.items()}
    if per is None or per not in points.reach[name]:
        return replace(words, subjects=subjects)
    sizes = points.sweep.values(per)
    counted = {
        subject_name(subject, name, points): sizes if per in axes_of(subject, name, points) else ()
        for subject in words.subjects
    }
    return replace(words, subjects=counted, key="n", is_whole=True)


def faulty_conditions(points: Points, inputs: Mapping[str, Inputs]) -> Iterator[Problem]:
    """Yield what is wrong with the objective, and with the conditions of multiplied steps."""
    found = {
        name: (step, vocabulary(name, step, points, inputs[name]))
        for name, step in gated(points).items()
        if name in inputs
    }
    for name, (step, words) in found.items():
        for index, text in enumerate(step.expect):
            try:
                parse(text, words)
            except ExpectationError as error:
                yield Problem(("steps", name, "expect", index), str(error))
    yield from _objective(points, {name: words for name, (_, words) in found.items()})


def _objective(points: Points, words: Mapping[str, Vocabulary]) -> Iterator[Problem]:
    sweep = points.sweep
    option = "maximize" if sweep.maximize is not None else "minimize"
    for name, known in words.items():
        if sweep.metric not in known.metrics:
            yield Problem(
                ("sweep", option) if option in sweep.model_fields_set else ("sweep",),
                f"'{sweep.metric}' is not measured by '{name}'{hint(sweep.metric, known.metrics, 'metrics')}",
            )
    if sweep.lead is not None:
        for name, step in gated(points).items():
            if sweep.lead not in getattr(step, "leads", ()):
                yield Problem(
                    ("sweep", "lead"), f"'{name}' scores no lead {sweep.lead}; add it to its `leads`"
                )
    if not isinstance(sweep.search, GridSearch):
        yield from _searchable(points)


def varied(points: Points) -> dict[str, str]:
    """Return the subjects that vary, and the step that scores each."""
    return {
        subject: name
        for name, step in gated(points).items()
        if isinstance(step, EvaluateStep)
        for subject in (ref.label for ref in step.of)
        if axes_of(subject, name, points)
    }


def searched(points: Points) -> tuple[str, str]:
    """Return the step and the subject that a search goes by."""
    found = varied(points)
    subject = points.sweep.subject or next(iter(found))
    return found[subject], subject


def _searchable(points: Points) -> Iterator[Problem]:
    """Yield why a search has not one score to go by, or cannot run here."""
    found, chosen = varied(points), points.sweep.subject
    if chosen is not None and chosen not in found:
        yield Problem(("sweep", "subject"), f"'{chosen}' does not vary{hint(chosen, found, 'varied')}")
    if chosen is None and len(found) != 1:
        yield Problem(
            ("sweep", "search"),
            f"a search goes by one score, and {len(found)} vary ({', '.join(found) or 'none'}); "
            "name one with `subject`",
        )
    if find_spec("optuna") is None:
        yield Problem(
            ("sweep", "search"),
            "needs the package optuna, which is not installed: pip install 'koopcast[optuna]'",
        )
