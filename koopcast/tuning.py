"""The optimum of a sweep: means over repetitions with their intervals, and the best of them."""

from collections.abc import Sequence

import pandas as pd
from scipy import stats

CONFIDENCE = 0.95
"""Of the intervals."""


def means(points: pd.DataFrame, axes: Sequence[str], column: str) -> pd.DataFrame:
    """Return one row for each combination of axes: the mean of a column over repetitions.

    Args:
        points: One row a point: the axes, `seed`, and the column, NaN where the point was lost.
        axes: Columns that name a combination.
        column: What is averaged.

    Returns:
        The axes; `mean`; `half_width` of its 95 % interval by Student's t (NaN for one repetition); `seeds`,
        the repetitions that have a value, and `lost`, those that have none.
    """
    # Axes that do not reach the column repeat its values: they count once.
    each = points.groupby([*axes, "seed"], sort=False, dropna=False)[column].mean().reset_index()
    groups = each.groupby(list(axes), sort=False, dropna=False)[column] if axes else None
    if groups is None:
        rows = pd.DataFrame({"mean": [each[column].mean()], "std": [each[column].std()],
                             "seeds": [each[column].count()], "total": [len(each)]})  # fmt: skip
    else:
        rows = groups.agg(mean="mean", std="std", seeds="count", total="size").reset_index()
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, (rows["seeds"] - 1).clip(lower=1))
    rows["half_width"] = quantile * rows["std"] / rows["seeds"].clip(lower=1) ** 0.5
    rows["lost"] = rows["total"] - rows["seeds"]
    return rows[[*axes, "mean", "half_width", "seeds", "lost"]]


def best(rows: pd.DataFrame, sign: int) -> int | None:
    """Return the place of the best row of `means`; None where no combination has a value.

    Combinations that lost a repetition come last: a filter that diverges now and then is not well tuned.

    Args:
        rows: From `means`.
        sign: 1 where less is better, -1 where more is.
    """
    known = rows[rows["mean"].notna()]
    if known.empty:
        return None
    order = known.assign(key=sign * known["mean"]).sort_values(["lost", "key"], kind="stable")
    return int(order.index[0])
