"""A pipeline: its grammar, and the one way from a file to a checked pipeline."""

import re
from collections.abc import Iterator, Sequence
from collections.abc import Mapping as MappingType
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal, TypeAlias
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    AfterValidator,
    Field,
    PositiveInt,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from koopcast.baselines import AnyBaseline
from koopcast.errors import InvalidInput
from koopcast.spec import Family, MethodSpec, Path, Problem, Spec, kind_of, members
from koopcast.times import parse_duration
from schemas.check import Findings, Lookup, check
from schemas.expect import ExpectationError, parse
from schemas.faults import Fault, PipelineInvalid
from schemas.links import Link, broken_links, links, loop, with_truth, written_links
from schemas.merge import read_extended, with_overrides
from schemas.optimum import faulty_conditions
from schemas.points import Instance, Points, expanded, misplaced, without_conditions
from schemas.positions import Mapping, mark_of, plain
from schemas.references import NAME, SLUG
from schemas.stages import AnyStep, Step
from schemas.sweep import Sweep
from schemas.translate import translate
from schemas.walk import alternatives

LONGEST_NAME = 60
MOST_STEPS = 200
SHORTEST_INTERVAL = 1.0
"""Seconds from one scheduled run to the next, at least."""
CRON_FIELD = re.compile(r"[A-Za-z0-9*/,\-#?]+")
MOST_IN_CRON = (59, 23, 31, 12, 7)
"""Largest minute, hour, day of the month, month and day of the week."""


STEP: TypeAdapter[Step] = TypeAdapter(AnyStep)


def baseline_names() -> frozenset[str]:
    """Return the names that scores keep for baselines."""
    return frozenset(kind_of(spec) for spec in members(AnyBaseline))


def _step_name(name: str) -> str:
    if not re.fullmatch(NAME, name) or len(name) > LONGEST_NAME:
        raise ValueError(
            f"a step's name has letters, digits and _, begins with a letter, and has at most {LONGEST_NAME}; "
            "rename it"
        )
    if name in baseline_names():
        raise ValueError(
            f"'{name}' is the name of a baseline, and scores would mix the two up; rename the step"
        )
    return name


def _slug(name: str) -> str:
    if not re.fullmatch(SLUG, name) or len(name) > LONGEST_NAME:
        raise ValueError(
            f"a pipeline's name has letters, digits, - and _, and at most {LONGEST_NAME} of them; rename it"
        )
    return name


StepName: TypeAlias = Annotated[str, AfterValidator(_step_name)]
Slug: TypeAlias = Annotated[str, AfterValidator(_slug), Field(json_schema_extra={"pattern": f"^{SLUG}$"})]


class ThreadsRunner(MethodSpec):
    """Steps that do not wait for one another run in threads of one process."""

    kind: Literal["threads"] = "threads"
    workers: PositiveInt = Field(2, le=256)
    """Steps at once."""

    reference = "Python's concurrent.futures"


class DaskRunner(MethodSpec):
    """Steps run on a Dask cluster: a local one, or one that stands at an address."""

    kind: Literal["dask"] = "dask"
    address: str | None = None
    """Of a scheduler: `tcp://host:8786`."""
    workers: PositiveInt | None = Field(None, le=256)
    """Processes of a local cluster; default 2."""

    reference = "Rocklin 2015, Dask"

    @model_validator(mode="after")
    def _is_local_or_not(self) -> "DaskRunner":
        if self.address is not None and self.workers is not None:
            raise ValueError("workers: counts for a local cluster alone; remove it or `address`")
        return self


AnyRunner: TypeAlias = Annotated[DaskRunner | ThreadsRunner, Family("runners")]


class Schedule(Spec):
    """When a deployment runs: at the times of `cron`, or again and again after an `interval`."""

    cron: str | None = None
    """Five fields: minute, hour, day of month, month, day of week."""
    interval: str | None = None
    """From one run to the next: PT30S, PT6H, P1D; at least a second. Counted from the moment at which
    the first window of a cycle is due; for a pipeline from 2020-01-01 in UTC."""
    timezone: str = "UTC"
    """Of `cron`: an IANA name, such as Europe/Paris."""

    @field_validator("cron")
    @classmethod
    def _has_five_fields(cls, text: str | None) -> str | None:
        if text is None:
            return None
        fields = text.split()
        if len(fields) != 5 or not all(CRON_FIELD.fullmatch(item) for item in fields):
            raise ValueError(
                f"'{text[:60]}' is not a cron line of five fields; write for example '0 6 * * *'"
            )
        for item, most in zip(fields, MOST_IN_CRON, strict=True):
            if beyond := [number for number in re.findall(r"\d+", item) if int(number) > most]:
                raise ValueError(f"'{text[:60]}': {beyond[0]} in '{item}' is more than {most}")
        return text

    @field_validator("timezone")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in available_timezones():
            raise ValueError(f"unknown time zone '{name[:60]}'; write UTC or a name such as Europe/Paris")
        return ZoneInfo(name).key

    @field_validator("interval")
    @classmethod
    def _is_a_duration(cls, text: str | None) -> str | None:
        if text is None:
            return None
        try:
            duration = parse_duration(text)
        except InvalidInput as error:
            raise ValueError(str(error)) from error
        if duration.months:
            raise ValueError(f"'{text}' counts months, which differ in length; use `cron`: '0 6 1 * *'")
        if duration.seconds < SHORTEST_INTERVAL:
            raise ValueError(f"'{text}' is below {SHORTEST_INTERVAL:g} s; write PT30S, PT6H or P1D")
        return text

    @model_validator(mode="after")
    def _is_one_of_both(self) -> "Schedule":
        if (self.cron is None) == (self.interval is None):
            given = "neither" if self.cron is None else "both"
            raise ValueError(
                f"needs exactly one of `cron` and `interval`, and has {given}; write one of them"
            )
        if self.interval is not None and "timezone" in self.model_fields_set:
            raise ValueError("timezone: an interval has none; remove it, or use `cron`")
        return self

    @property
    def every(self) -> timedelta | None:
        """The interval."""
        return None if self.interval is None else timedelta(seconds=parse_duration(self.interval).seconds)


class Deploy(Spec):
    """How a deployment runs."""

    work_pool: Slug = "koopcast"
    """Of Prefect."""
    tags: list[str] = []
    """Shown by Prefect."""
    slot: bool = True
    """Whether a second run waits for a slot of the server before it starts. The slot of a run that was killed
    with its worker stays taken for five minutes. Without slots a second run of a cycle starts and waits at
    the archive, whose lock ends with the process that holds it; two runs of a pipeline share what they make.
    """


class Pipeline(Spec):
    """One YAML file: which fields, which models, which assimilation, which scores."""

    name: Slug
    """Of the pipeline; runs are kept under it."""
    description: str = ""
    """For people."""
    seed: int = Field(0, ge=0, lt=2**59)
    """Of every random number: each step draws from its own stream below it."""
    extends: str | None = None
    """Another file, relative to this one, over which this one is laid: maps merge, null deletes."""
    steps: dict[StepName, AnyStep] = Field(min_length=1, max_length=MOST_STEPS)
    """What is done, by name; edges come from references alone."""
    sweep: Sweep | None = None
    """Options that vary: steps that they reach run once for each combination."""
    runner: AnyRunner = Field(default="threads", validate_default=True)
    """Where steps run."""
    threads: PositiveInt = Field(2, le=1024)
    """Threads of torch in each step."""
    schedule: Schedule | None = None
    """When its deployment runs."""
    deploy: Deploy | None = None
    """How its deployment runs."""


@dataclass(frozen=True)
class Loaded:
    """A pipeline that passed every check, with all that was learned of it."""

    pipeline: Pipeline
    """`data` of every `evaluate` step is filled in."""
    file: FilePath
    overrides: tuple[str, ...]
    root: Mapping
    """The document with its places, `extends` and overrides applied."""
    findings: Findings
    points: Points | None = None
    """What the sweep multiplies."""
    instances: MappingType[str, tuple[Instance, ...]] = field(default_factory=dict)
    """Multiplied step -> its points, as far as they are known beforehand."""

    @property
    def raw(self) -> dict[str, Any]:
        """Return the document as plain values."""
        result: dict[str, Any] = plain(self.root)
        return result

    def fault(self, path: Path, message: str) -> Fault:
        """Return a fault at a path of the document, for errors found later than at validation."""
        return mark_of(self.root, path).fault(path, message)


def load(file: str | FilePath, overrides: Sequence[str] = (), lookup: Lookup | None = None) -> Loaded:
    """Return the pipeline in a file, checked whole: grammar, references, shapes and rules.

    Args:
        file: YAML.
        overrides: `a.b.c=value`, each as after `--set`.
        lookup: Knows artefacts of earlier runs (`runs://...`); without it they go unchecked.

    Raises:
        PipelineInvalid: With every fault at once.
    """
    path = FilePath(file)
    root = with_overrides(read_extended(path), overrides)
    reader = _Reader(root)
    steps = reader.steps()
    pipeline = reader.pipeline({name: step for name, step in steps.items() if step is not None})
    workers = pipeline.threads if pipeline is not None else 2
    findings = reader.findings(steps, lookup, workers) if len(steps) <= MOST_STEPS else Findings()
    if reader.faults or pipeline is None:
        raise PipelineInvalid(reader.faults)
    return Loaded(
        pipeline.model_copy(update={"steps": reader.linked}),
        path,
        tuple(overrides),
        root,
        findings,
        reader.points,
        reader.instances,
    )


class _Reader:
    """Takes a document through grammar, references and shapes, noting faults."""

    def __init__(self, root: Mapping) -> None:
        self.root = root
        self.value: dict[str, Any] = plain(root)
        self.faults: list[Fault] = []
        self.linked: dict[str, Step] = {}
        self.points: Points | None = None
        self.instances: dict[str, tuple[Instance, ...]] = {}

    def steps(self) -> dict[str, Step | None]:
        """Return each step on its own, so that a fault in one does not hide those of another."""
        written = self.value.get("steps")
        if not isinstance(written, dict):
            return {}
        return {str(name): self._step(str(name), value) for name, value in written.items()}

    def _step(self, name: str, value: Any) -> Step | None:
        try:
            return STEP.validate_python(value, context={"folder": self._folder(name)})
        except ValidationError as error:
            self.faults.extend(translate(error, self.value, Pipeline, self.root, ("steps", name)))
            return None

    def _varied(self, name: str, document: Mapping) -> Step:
        """Return a step as a document writes it that differs from ours in values of the sweep."""
        value = plain(document)
        try:
            return STEP.validate_python(value["steps"][name], context={"folder": self._folder(name)})
        except ValidationError as error:
            raise PipelineInvalid(translate(error, value, Pipeline, document, ("steps", name))) from None

    def _sweep(self, steps: MappingType[str, Step | None]) -> Sweep | None:
        """Return the sweep if its grammar and the places of its axes are sound."""
        written = self.value.get("sweep")
        if written is None:
            return None
        try:
            sweep = Sweep.model_validate(written)
        except ValidationError:
            return None  # told with the pipeline's own faults
        faults = list(misplaced(sweep, self.root, steps))
        self.faults.extend(faults)
        return None if faults else sweep

    def _folder(self, name: str) -> FilePath:
        """Return the folder that relative paths of a step start from: that of the file in which its
        source is written.
        """
        mark = mark_of(self.root, ("steps", name, "source", "path"))
        return FilePath(mark.file if mark.line else self.root.mark.file).absolute().parent

    def pipeline(self, steps: MappingType[str, Step]) -> Pipeline | None:
        """Return the pipeline around the steps that are valid."""
        written = self.value.get("steps")
        value = {**self.value, "steps": steps} if isinstance(written, dict) else self.value
        try:
            return Pipeline.model_validate(value)
        except ValidationError as error:
            faults = translate(error, self.value, Pipeline, self.root)
            # Without a single valid step `steps` looks empty here; the faults of the steps say why.
            hides_steps = isinstance(written, dict) and bool(written) and not steps
            self.faults.extend(fault for fault in faults if not (hides_steps and fault.path == "steps"))
            return None

    def findings(self, steps: dict[str, Step | None], lookup: Lookup | None, workers: int) -> Findings:
        """Link the steps that are valid, and check their shapes."""
        sound: dict[str, Step] = {}
        for name, step in steps.items():
            if step is None:
                self._note(list(broken_links(name, self._written_links(name), steps)))
                continue
            problems = list(broken_links(name, links(step), steps))
            self._note(problems)
            if not problems:
                sound[name] = step
        valid = {name: step for name, step in steps.items() if step is not None}
        while names := loop(valid):
            self._note([_loop_problem(names, valid)])
            for name in names:
                valid.pop(name, None)
                sound.pop(name, None)
        self.linked = self._with_truths(sound)
        sweep = self._sweep(steps)
        if sweep is not None:
            written = {name: sound[name] for name in self.linked}
            self.points = Points(sweep, self.root, written, self.linked, {}, self._varied, lookup, workers)
        # Where nobody knows what a faulty sweep varies, no condition can be told to name the wrong subject.
        is_unclear = self.points is None and self.value.get("sweep") is not None
        multiplied = self.points.reach if self.points is not None else self.linked if is_unclear else {}
        findings = check(without_conditions(self.linked, multiplied), lookup, workers)
        self._note(findings.problems)
        if self.points is not None:
            self._expand(self.points, findings)
        for name in steps if is_unclear else steps.keys() - findings.contracts.keys():
            self._note(list(self._unreadable_conditions(name)))
        return findings

    def _expand(self, points: Points, findings: Findings) -> None:
        """Make and check the points of the sweep, and the conditions on its optimum."""
        points.known = {name: c for name, c in findings.contracts.items() if name not in points.reach}
        self.instances, faults = expanded(points)
        self.faults.extend(faults)
        self._note(list(faulty_conditions(points, findings.inputs)))

    def _written_links(self, name: str) -> Iterator[Link]:
        written = self.value["steps"][name]
        task = written.get("task") if isinstance(written, dict) else None
        for step in alternatives(AnyStep):
            if step.model_fields["task"].default == task:
                yield from written_links(step, written)

    def _unreadable_conditions(self, name: str) -> Iterator[Problem]:
        """Yield the conditions that are not of the grammar, in a step whose inputs are not known."""
        written = self.value["steps"][name]
        conditions = written.get("expect") if isinstance(written, dict) else None
        for index, text in enumerate(conditions if isinstance(conditions, list) else []):
            if not isinstance(text, str):
                continue
            try:
                parse(text)
            except ExpectationError as error:
                yield Problem(("steps", name, "expect", index), str(error))

    def _with_truths(self, sound: MappingType[str, Step]) -> dict[str, Step]:
        result: dict[str, Step] = {}
        for name, step in sound.items():
            linked = with_truth(step, sound)
            if isinstance(linked, Step):
                result[name] = linked
            elif all(link.ref.run is not None or link.ref.step in sound for link in links(step)):
                self._note([Problem(("steps", name, "of"), linked)])
        return result

    def _note(self, problems: Sequence[Problem]) -> None:
        for problem in problems:
            self.faults.append(mark_of(self.root, problem.path).fault(problem.path, problem.message))


def _loop_problem(names: Sequence[str], steps: MappingType[str, Step]) -> Problem:
    link = next(link for link in links(steps[names[0]]) if link.ref.step == names[1])
    return Problem(
        ("steps", names[0], *link.path),
        f"steps refer to one another in a loop: {' -> '.join(names)}; break it",
    )
