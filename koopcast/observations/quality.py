"""Quality control: which observations an analysis may use, and the one reason why it may not use another."""

from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from koopcast.grids import FieldsInfo
from koopcast.numerics.geometry import SPHERE, Domain, distances
from koopcast.spec import Problem, Spec


class Flag(IntEnum):
    """What became of an observation; the first reason that applies."""

    ABSENT = -1
    """A place in the table without an observation: none was due. It counts nowhere."""
    USED = 0
    MISSING = 1
    """It was due and did not arrive."""
    BLACKLISTED = 2
    OUT_OF_BOUNDS = 3
    DUPLICATE = 4
    THINNED = 5
    BACKGROUND_CHECK = 6
    BUDDY_CHECK = 7
    DOWNWEIGHTED = 8
    """Used, with a larger error."""


def is_used(flag: Int[Tensor, "*shape"]) -> Bool[Tensor, "*shape"]:
    """Return which observations an analysis sees."""
    return (flag == Flag.USED) | (flag == Flag.DOWNWEIGHTED)


class BuddyCheck(Spec):
    """Refuse an observation whose departure stands out from those of its neighbours."""

    radius: PositiveFloat
    """Distance to the farthest neighbour, in the units of the axes (degrees of arc on the sphere)."""
    threshold: PositiveFloat = 4.0
    """Largest difference from the median departure of the neighbours, in expected standard deviations."""
    neighbours: PositiveInt = 2
    """Fewer neighbours than this give no verdict."""


class QualityControl(Spec):
    """Checks in this order: blacklist, bounds, duplicates, thinning; then in each cycle, against the
    background, background check, buddy check and Huber weights. Nothing is deleted: each observation keeps
    the first reason against it.
    """

    blacklist: list[NonNegativeInt] = []
    """Sites that are never used, by their number (0: the first)."""
    bounds: tuple[float | None, float | None] = (None, None)
    """Least and largest value that is believed."""
    duplicates: Literal["keep", "same_value", "same_cell"] = "keep"
    """Which observations of one time are refused as repetitions of an earlier one in the table: none, those
    with its grid point and value, or all at its grid point."""
    thinning: PositiveFloat | None = None
    """Least distance between two observations of a variable at one time, in the units of the axes; the
    earlier one in the table stays."""
    error_inflation: float = Field(1.0, ge=1)
    """Factor on the standard deviation of the error that an analysis assumes."""
    background_check: PositiveFloat | None = None
    """Refuse a departure |y - Hx| above so many times √(HPHᵀ + r)."""
    buddy_check: BuddyCheck | None = None
    """Refuse a departure that differs from its neighbours'."""
    huber: PositiveFloat | None = None
    """Departures above so many times √(HPHᵀ + r) get an error variance as many times larger."""
    background_std: PositiveFloat | None = None
    """Standard deviation of the background, in the units of the observations, in place of the spread of the
    ensemble; a method with one state has no spread."""

    @model_validator(mode="after")
    def _bounds_are_ordered(self) -> "QualityControl":
        low, high = self.bounds
        if low is not None and high is not None and low >= high:
            raise ValueError(f"bounds: {low} is not below {high}")
        return self

    @property
    def looks_at_background(self) -> bool:
        """Whether any check is made cycle by cycle."""
        return any(check is not None for check in (self.background_check, self.buddy_check, self.huber))

    def check(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Refuse distances where none are defined."""
        geometries = {axis.geometry for axis in fields.axes}
        is_mixed = geometries >= SPHERE and len(fields.axes) > 2
        if is_mixed or any(axis.name == "point" for axis in fields.axes):
            for name in ("thinning", "buddy_check"):
                if getattr(self, name) is not None:
                    yield Problem((name,), "these axes define no distances; remove it")

    def before(
        self,
        value: Float[Tensor, "batch time obs"],
        index: Int[Tensor, "batch time obs"],
        domain: Domain,
        num_channels: int,
        per_site: int,
    ) -> Int[Tensor, "batch time obs"]:
        """Return the flags that need no background.

        Args:
            value: NaN where missing.
            index: Cell of each observation.
            domain: Of the grid points.
            num_channels: Cells at each grid point.
            per_site: Observations at each site, side by side.
        """
        flag = torch.full(value.shape, int(Flag.USED), dtype=torch.int8)
        low, high = self.bounds
        outside = torch.zeros_like(value, dtype=torch.bool)
        if low is not None:
            outside |= value < low
        if high is not None:
            outside |= value > high
        site = torch.arange(value.shape[2]) // per_site
        listed = torch.isin(site, torch.tensor(self.blacklist, dtype=torch.int64)).expand(value.shape)
        for reason, applies in (
            (Flag.MISSING, torch.isnan(value)),
            (Flag.BLACKLISTED, listed),
            (Flag.OUT_OF_BOUNDS, outside),
        ):
            flag[(flag == Flag.USED) & applies] = int(reason)
        if self.duplicates != "keep":
            _mark_repeated(flag, self._repeats(value, index), Flag.DUPLICATE)
        if self.thinning is not None:
            _mark_repeated(flag, self._crowded(index, domain, num_channels), Flag.THINNED)
        return flag

    def _repeats(self, value: Tensor, index: Tensor) -> Iterator[Bool[Tensor, "batch time obs"]]:
        """Yield for each observation which ones it repeats, or would be repeated by."""
        for place in range(value.shape[2]):
            same = index == index[:, :, place, None]
            yield same & (value == value[:, :, place, None]) if self.duplicates == "same_value" else same

    def _crowded(
        self, index: Tensor, domain: Domain, num_channels: int
    ) -> Iterator[Bool[Tensor, "batch time obs"]]:
        assert self.thinning is not None
        is_fixed = bool((index == index[:1, :1]).all())
        rows = index[:1, :1] if is_fixed else index
        points, channel = rows // num_channels, rows % num_channels
        flat = points.flatten(0, 1)
        gaps = torch.stack([distances(domain, row, row) for row in flat]).unflatten(0, rows.shape[:2])
        for place in range(index.shape[2]):
            near = (gaps[..., place] < self.thinning) & (channel == channel[..., place, None])
            yield near.expand(index.shape)

    def against(
        self,
        departure: Float[Tensor, "batch obs"],
        variance: tuple[Float[Tensor, "batch obs"], Float[Tensor, "batch obs"]],
        flag: Int[Tensor, "batch obs"],
        neighbours: Float[Tensor, "#batch obs obs"] | None,
    ) -> tuple[Int[Tensor, "batch obs"], Float[Tensor, "batch obs"]]:
        """Return the flags after the checks against a background, and the factor on 1/σ of each
        observation.

        Args:
            departure: y - Hx of the mean of the background.
            variance: Of the background (HPHᵀ) and of the observations (r).
            flag: Before these checks.
            neighbours: Distances between observations of the same variable, infinite between others.
        """
        flag = flag.clone()
        spread = variance[0] if self.background_std is None else self.background_std**2
        expected = (spread + variance[1]).sqrt()
        z = departure.abs() / expected
        if self.background_check is not None:
            flag[(flag == Flag.USED) & (z > self.background_check)] = int(Flag.BACKGROUND_CHECK)
        if self.buddy_check is not None and neighbours is not None:
            refused = _stands_out(departure, expected, flag == Flag.USED, neighbours, self.buddy_check)
            flag[(flag == Flag.USED) & refused] = int(Flag.BUDDY_CHECK)
        factor = torch.ones_like(z)
        if self.huber is not None:
            is_far = (flag == Flag.USED) & (z > self.huber)
            flag[is_far] = int(Flag.DOWNWEIGHTED)
            factor = torch.where(is_far, (self.huber / z).sqrt(), 1.0)
        return flag, factor


def _mark_repeated(flag: Tensor, repeats: Iterator[Tensor], reason: Flag) -> None:
    """Give a reason to every observation that an earlier one, which is itself used, stands for."""
    for place, near in enumerate(repeats):
        stands = flag[:, :, place, None] == Flag.USED
        later = (flag == Flag.USED) & near & stands
        later[:, :, : place + 1] = False
        flag[later] = int(reason)


def _stands_out(
    departure: Tensor, expected: Tensor, is_sound: Tensor, gaps: Tensor, check: BuddyCheck
) -> Bool[Tensor, "batch obs"]:
    """Return which departures differ from the median of their neighbours' by more than both can explain."""
    own = torch.eye(gaps.shape[-1], dtype=torch.bool, device=gaps.device)
    near = ((gaps <= check.radius) & ~own) & is_sound[:, None]
    others = torch.where(near, departure[:, None], torch.nan)
    count = near.sum(dim=2)
    middle = others.nanmedian(dim=2).values
    # The median of n Gaussian numbers has the variance π/2n of one of them.
    share = (1 + torch.pi / 2 / count.clamp_min(1)).sqrt()
    differs = (departure - middle).abs() > check.threshold * expected * share
    return differs & (count >= check.neighbours)


def counts(flag: Int[Tensor, "*shape"]) -> Mapping[str, int]:
    """Return how many observations have each flag; they add up to all that were due."""
    return {reason.name.lower(): int((flag == reason).sum()) for reason in Flag if reason is not Flag.ABSENT}
