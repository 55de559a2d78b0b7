"""What departures say of a chain of analyses: error statistics by type of observation and by flag."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from koopcast.numerics.batch_means import mean_and_half_width
from koopcast.observations.quality import Flag, is_used


@dataclass(frozen=True)
class Departures:
    """Observations of one type beside what is seen of background and analysis, after the burn-in."""

    value: Float[Tensor, "batch time obs"]
    variance: Float[Tensor, "batch time obs"]
    """Of the error that the analysis assumed."""
    background: Float[Tensor, "batch time obs"]
    analysis: Float[Tensor, "batch time obs"]
    spread: Float[Tensor, "batch time obs"]
    """Standard deviation over members of what is seen of the background; NaN for a single state."""
    flag: Int[Tensor, "batch time obs"]
    members: int = 1

    def innovation(self) -> Float[Tensor, "batch time obs"]:
        """Return y - H x_b (O-B)."""
        return self.value - self.background

    def residual(self) -> Float[Tensor, "batch time obs"]:
        """Return y - H x_a (O-A)."""
        return self.value - self.analysis


def by_flag(name: str, departures: Departures) -> Iterator[dict[str, object]]:
    """Yield a row for each flag that occurs, and one of all that is used, for a type.

    `ob_mean`, `ob_rms`, `oa_mean`, `oa_rms`: of O-B and O-A; `increment_rms` of H x_a - H x_b. Of what is
    used also `chi_square`, the mean of d² / (σ_b² + r); `spread_skill`, √((N+1)/N · mean σ_b² / mean (d² -
    r)), near 1 where the N members are calibrated; `error_variance` and `background_variance`, the estimates
    E[d_oa d_ob] of R and E[d_ab d_ob] of HBHᵀ (Desroziers et al. 2005), beside `stated_error_variance` and
    `stated_background_variance`. `<name>_half_width` is that of the 95 % interval of a mean, by batch means,
    which know autocorrelation.
    """
    used = is_used(departures.flag)
    yield {"type": name, "flag": "all_used", **_moments(departures, used), **_consistency(departures, used)}
    for reason in Flag:
        which = departures.flag == reason
        if reason is not Flag.ABSENT and bool(which.any()):
            yield {"type": name, "flag": reason.name.lower(), **_moments(departures, which)}


def table(parts: dict[str, Departures]) -> pd.DataFrame:
    """Return the rows of all types."""
    return pd.DataFrame([row for name, part in parts.items() for row in by_flag(name, part)])


def consistency(rows: pd.DataFrame) -> dict[str, float]:
    """Return `chi_square` and `desroziers` of all observations used, and of each type where there are some.

    Args:
        rows: What `table` returned.
    """
    used = rows[(rows["flag"] == "all_used") & (rows["count"] > 0)]
    known = used[used["chi_square"].notna()]
    if known.empty:
        return {}
    share = known["count"] / known["count"].sum()
    ratio = known["error_variance"] / known["stated_error_variance"]
    background = known["background_variance"] / known["stated_background_variance"]
    card = {
        "chi_square": float((share * known["chi_square"]).sum()),
        "desroziers": float((share * ratio).sum()),
        "desroziers.background": float((share * background).sum()),
    }
    if len(known) > 1:
        card |= {
            f"chi_square.{name}": float(v) for name, v in zip(known["type"], known["chi_square"], strict=True)
        }
        card |= {f"desroziers.{name}": float(v) for name, v in zip(known["type"], ratio, strict=True)}
    return card


def _moments(departures: Departures, which: Bool[Tensor, "batch time obs"]) -> dict[str, float | int]:
    innovation, residual = departures.innovation(), departures.residual()
    mean, half_width = _in_time(innovation, which)
    return {
        "count": int(which.sum()),
        "ob_mean": mean,
        "ob_mean_half_width": half_width,
        "ob_rms": _mean(innovation.square(), which) ** 0.5,
        "oa_mean": _mean(residual, which),
        "oa_rms": _mean(residual.square(), which) ** 0.5,
        "increment_rms": _mean((innovation - residual).square(), which) ** 0.5,
    }


def _consistency(departures: Departures, used: Bool[Tensor, "batch time obs"]) -> dict[str, float]:
    d_ob, d_oa, r = departures.innovation(), departures.residual(), departures.variance
    spread = departures.spread.square()
    chi_square, half_width = _in_time(d_ob.square() / (spread + r), used)
    error, error_half_width = _in_time(d_oa * d_ob, used)
    background, background_half_width = _in_time((d_ob - d_oa) * d_ob, used)
    skill, size = _mean(d_ob.square() - r, used), departures.members
    return {
        "chi_square": chi_square,
        "chi_square_half_width": half_width,
        "error_variance": error,
        "error_variance_half_width": error_half_width,
        "stated_error_variance": _mean(r, used),
        "background_variance": background,
        "background_variance_half_width": background_half_width,
        "stated_background_variance": _mean(spread, used),
        "spread_skill": ((size + 1) / size * _mean(spread, used) / skill) ** 0.5 if skill > 0 else np.nan,
    }


def _mean(values: Tensor, which: Bool[Tensor, "batch time obs"]) -> float:
    values = values[which].double()
    return float(values.mean()) if values.numel() else np.nan


def _in_time(values: Tensor, which: Bool[Tensor, "batch time obs"]) -> tuple[float, float]:
    """Return the mean over all, and its half-width from the means over each time."""
    count = which.sum(dim=2)
    total = torch.where(which, values.double(), 0.0).sum(dim=2)
    mean = float(total.sum() / count.sum()) if bool(count.any()) else np.nan
    series = [row[known > 0] / known[known > 0] for row, known in zip(total, count, strict=True)]
    return mean, mean_and_half_width([each.cpu().numpy() for each in series])[1]
