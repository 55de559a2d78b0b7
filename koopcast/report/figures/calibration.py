"""Whether a cycle is as sure as it is right: skill against lead, spread against error, departures."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.stats import norm

from koopcast.report.style import INK, MUTED, SERIES, Picture, draw, readable, sentence, with_units

FEWEST = 20
"""Reports of a class whose root-mean-square is drawn."""
SUBJECTS = {
    "forecast": (SERIES[0], "-", "o"),
    "persistence": (MUTED, (0, (4, 2)), ""),
    "climatology": (MUTED, (0, (1.2, 1.6)), ""),
}
"""Whose errors are compared: colour, dash, marker."""


def forecast_skill(errors: pd.DataFrame, variable: str, against: str, units: str) -> Picture:
    """Draw the errors of forecasts of one variable against lead, beside persistence and climatology.

    Args:
        errors: Columns lead, subject, rmse, cases; of one variable and one kind of truth.
        variable: Which.
        against: `analyses` or `reports`.
        units: Of the errors.
    """

    def plot(figure: Figure) -> None:
        axes = figure.subplots()
        for subject, (colour, dash, marker) in SUBJECTS.items():
            own = errors[errors["subject"] == subject].sort_values("lead")
            only = "o" if len(own) == 1 else marker
            axes.plot(own["lead"], own["rmse"], color=colour, linestyle=dash, marker=only, label=subject)
        axes.set_ylim(bottom=0.0)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
        axes.set_xlabel("windows ahead")
        axes.set_ylabel(with_units("RMSE", units))
        figure.legend(loc="outside upper left", ncols=3)

    first = errors.set_index(["lead", "subject"])["rmse"].sort_index().loc[errors["lead"].min()]
    title = f"{sentence(readable(variable))}: forecasts against {against}"
    told = ", ".join(f"{subject} {first[subject]:.3g}" for subject in SUBJECTS)
    caption = (
        f"At the first lead: {told}; {int(errors['cases'].max())} forecasts. A forecast earns its keep where "
        "it lies below both dashed lines."
    )
    return Picture(f"skill-{variable}-{against}", title, caption, caption, draw(plot, height=3.4))


def spread_against_error(calibration: pd.DataFrame, units: str) -> Picture:
    """Draw how far reports are from the background against how far spread and errors let expect.

    Args:
        calibration: Columns expected, found, reports.
        units: Of the reports.
    """
    shown = calibration[calibration["reports"] >= FEWEST]
    shown = calibration if shown.empty else shown

    def plot(figure: Figure) -> None:
        axes = figure.subplots()
        low = 0.8 * float(shown[["expected", "found"]].to_numpy().min())
        high = 1.25 * float(shown[["expected", "found"]].to_numpy().max())
        axes.plot([low, high], [low, high], color=INK, linewidth=0.8, label="as sure as right")
        size = 12 + 90 * np.sqrt(shown["reports"] / shown["reports"].max())
        axes.scatter(shown["expected"], shown["found"], s=size, color=SERIES[0], alpha=0.8, linewidths=0)
        axes.set_xlim(low, high)
        axes.set_ylim(low, high)
        axes.set_xlabel(with_units("expected of spread and error", units))
        axes.set_ylabel(with_units("found", units))
        figure.legend(loc="outside upper left")

    caption = (
        "Root-mean-square of reports less background, by what the spread of the background and the errors of "
        "the reports let expect; larger dots are more reports. Above the line the cycle is too sure."
    )
    pairs = zip(shown["expected"], shown["found"], strict=True)
    alt = "; ".join(f"expected {expected:.3g}, found {found:.3g}" for expected, found in pairs)
    return Picture("calibration", "Spread against error", caption, alt, draw(plot, height=3.4))


def departure_histogram(departures: pd.DataFrame) -> Picture:
    """Draw how normalised departures are distributed, beside the normal distribution.

    Args:
        departures: Columns left, right, reports.
    """
    total = int(departures["reports"].sum())
    width = float(departures["right"].iloc[0] - departures["left"].iloc[0])

    def plot(figure: Figure) -> None:
        axes = figure.subplots()
        height = departures["reports"] / max(total, 1) / width
        axes.bar(
            departures["left"], height, width=0.94 * width, align="edge", color=SERIES[0], alpha=0.85,
            label="reports",
        )  # fmt: skip
        z = np.linspace(departures["left"].iloc[0], departures["right"].iloc[-1], 201)
        axes.plot(z, norm.pdf(z), color=INK, linewidth=1.1, label="as expected")
        axes.set_xlabel("reports less background, over the expected size")
        axes.set_ylabel("density")
        figure.legend(loc="outside upper left", ncols=2)

    far = departures[(departures["left"] < -3) | (departures["right"] > 3)]["reports"].sum()
    caption = (
        f"{total} reports, {far / max(total, 1):.2%} of them beyond three expected sizes (0.27 % of a normal "
        "distribution are). Heavy sides are bad reports or places where the spread is too small; what lies "
        "beyond five is in the outermost bars."
    )
    return Picture("departures", "Departures from the background", caption, caption, draw(plot, height=3.4))
