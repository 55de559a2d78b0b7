"""The grammar of a sweep: which options vary, how they are searched, what is best."""

import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, PositiveInt, field_validator, model_validator

from koopcast.spec import Family, MethodSpec, Spec
from schemas.references import NAME

MOST_VALUES = 1000
"""Of one axis."""
MOST_POINTS = 10_000
"""Of one step."""
BEST = "best"
"""`rmse(etkf.best)` is the score of a subject at its optimum."""


class Range(Spec):
    """Numbers between two; whole ones where both ends are."""

    low: int | float
    """The least."""
    high: int | float
    """The greatest."""
    log: bool = False
    """Spread evenly over the logarithm."""
    count: int | None = Field(None, ge=2, le=MOST_VALUES)
    """Values of a grid; a search by `optuna` takes any between."""

    @model_validator(mode="after")
    def _is_a_range(self) -> "Range":
        if not self.low < self.high:
            raise ValueError(
                f"low: {self.low} is not below high {self.high}; write the smaller number as `low`"
            )
        if self.log and self.low <= 0:
            raise ValueError(f"low: {self.low} has no logarithm; raise it above 0, or leave `log` out")
        return self

    @property
    def is_whole(self) -> bool:
        """Whether its values are whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def values(self) -> list[int | float]:
        """Return the values of a grid, both ends among them."""
        assert self.count is not None, "a grid needs a count"
        low, high = (math.log(end) if self.log else float(end) for end in (self.low, self.high))
        between = (low + (high - low) * i / (self.count - 1) for i in range(1, self.count - 1))
        spread = [self.low, *(rounded(math.exp(v) if self.log else v) for v in between), self.high]
        return list(dict.fromkeys(round(value) for value in spread)) if self.is_whole else spread


def _endless(value: Any) -> Iterator[float]:
    """Yield the infinities and the numbers that are none, within whatever lists and mappings."""
    if isinstance(value, float) and not math.isfinite(value):
        yield value
    elif isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _endless(item)


def rounded(value: float) -> float:
    """Return a number to six digits: what people can read and write again."""
    return float(f"{value:.6g}")


class GridSearch(MethodSpec):
    """Every combination."""

    kind: Literal["grid"] = "grid"

    reference = "a table of all"


class OptunaSearch(MethodSpec):
    """Combinations chosen one after the other by what the former ones scored; needs the extra `optuna`.

    The choice depends on the pipeline's seed and the scores alone: a search that was stopped finds its points
    in the store and goes on as if it had not been.
    """

    kind: Literal["optuna"] = "optuna"
    trials: PositiveInt = Field(40, le=MOST_POINTS)
    """Combinations that are tried (for each value of `per`)."""
    startup: PositiveInt = 10
    """Of them drawn at random before the model of the scores is used."""

    reference = "Bergstra et al. 2011, tree-structured Parzen estimator; Akiba et al. 2019"


AnySearch: TypeAlias = Annotated[GridSearch | OptunaSearch, Family("searches")]
Axis: TypeAlias = Annotated[list[Any], Field(min_length=1, max_length=MOST_VALUES)] | Range


class Sweep(Spec):
    """Options that vary. A step is done once for each combination of the axes that reach it: those of its own
    options, and of the steps that it needs.
    """

    over: dict[str, Axis] = Field(min_length=1)
    """Path of an option, as after `--set`, and its values: `steps.etkf.method.members: [16, 24]`, or a range
    `{low: 1.0, high: 1.2}`."""
    seeds: int = Field(1, ge=1, le=1000)
    """Repetitions of each point with other random numbers; scores are means over them."""
    redraw: list[Annotated[str, Field(pattern=f"^{NAME}$")]] = []
    """Steps that are done anew with each repetition too; those with varied options always are."""
    search: AnySearch = Field(default="grid", validate_default=True)
    """How combinations are chosen."""
    per: str | None = None
    """An axis of whole numbers for each value of which the optimum is found: `rmse(etkf.best, n=24)`."""
    minimize: str | None = None
    """Metric whose least mean over repetitions is the optimum; default rmse."""
    maximize: str | None = None
    """Metric whose greatest mean is the optimum."""
    lead: PositiveInt | None = None
    """Forecast length at which it is taken; default: the first."""
    subject: str | None = None
    """What a search by `optuna` goes by, where several subjects vary."""

    @field_validator("over")
    @classmethod
    def _varies(cls, over: dict[str, Any]) -> dict[str, Any]:
        for path, values in over.items():
            if isinstance(values, list) and any(value in values[:i] for i, value in enumerate(values)):
                raise ValueError(f"'{path}' has a value twice; remove one")
            if isinstance(values, list) and (endless := next(_endless(values), None)) is not None:
                raise ValueError(f"'{path}' has the value {endless}; write numbers that are finite")
        return over

    @model_validator(mode="after")
    def _fits_together(self) -> "Sweep":
        if self.minimize is not None and self.maximize is not None:
            raise ValueError("give one of minimize and maximize, not both")
        if self.per is not None and self.per not in self.over:
            raise ValueError(f"per: '{self.per}' is no axis; name one of {', '.join(self.over)}")
        axis = self.over.get(self.per or "")
        if isinstance(axis, list) and not all(type(value) is int and value >= 0 for value in axis):
            raise ValueError(f"per: '{self.per}' has values that are no whole numbers; name another axis")
        if isinstance(axis, Range) and not (axis.is_whole and axis.count is not None):
            raise ValueError(f"per: '{self.per}' needs a list of whole numbers; write its values")
        return self

    @model_validator(mode="after")
    def _has_a_grid(self) -> "Sweep":
        for path, axis in self.over.items():
            is_open = isinstance(axis, Range) and axis.count is None
            if is_open and isinstance(self.search, GridSearch):
                raise ValueError(
                    f"'{path}' is a range, and a grid needs its values; add `count`, or set `search: optuna`"
                )
        return self

    @property
    def metric(self) -> str:
        """Name of the metric that says what is best."""
        return self.minimize or self.maximize or "rmse"

    @property
    def sign(self) -> int:
        """1 where less is better, -1 where more is."""
        return -1 if self.maximize is not None else 1

    def values(self, path: str) -> list[Any]:
        """Return the values of an axis that has them; the ends of one that has none."""
        axis = self.over[path]
        if isinstance(axis, list):
            return axis
        return [axis.low, axis.high] if axis.count is None else axis.values()
