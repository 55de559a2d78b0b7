"""How far a Koopman spectrum can be trusted: eigenvalues by residual, pseudospectra, spectral densities."""

import numpy as np
import xarray as xr
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from koopcast.report.style import INK, MUTED, SERIES, Picture, draw, sentence

RESIDUAL_MAP = "viridis_r"
LEAST = 1e-4
"""Residual below which all are drawn alike."""
LEVELS = (0.01, 0.03, 0.1, 0.3)
"""Contours of the pseudospectrum."""


def residual_plane(diagnostics: xr.Dataset, model: str, name: str) -> Picture:
    """Draw eigenvalues coloured by their residuals, verified ones ringed, over the pseudospectrum if known.

    Args:
        diagnostics: `eigenvalue_real`, `eigenvalue_imag`, `residual` and `verified`, dim `mode`;
            `pseudospectrum` `(re, im)` where it was computed.
        model: Whose they are.
        name: Of the picture.
    """
    value = diagnostics["eigenvalue_real"].values + 1j * diagnostics["eigenvalue_imag"].values
    residual = diagnostics["residual"].values
    verified = diagnostics["verified"].values.astype(bool)
    certificate = str(diagnostics.attrs.get("certificate", ""))
    has_plane = "pseudospectrum" in diagnostics

    def plot(figure: Figure) -> None:
        axes = figure.subplots()
        if has_plane:
            plane = diagnostics["pseudospectrum"]
            lines = axes.contour(
                plane["re"].values, plane["im"].values, plane.values.T, levels=LEVELS, colors=MUTED,
                linewidths=0.8,
            )  # fmt: skip
            axes.clabel(lines, fontsize=7, fmt="%g")
        angle = np.linspace(0, 2 * np.pi, 361)
        axes.plot(np.cos(angle), np.sin(angle), color=INK, linewidth=1.0)
        dots = axes.scatter(
            value.real, value.imag, s=24, c=np.clip(residual, LEAST, 1.0), cmap=RESIDUAL_MAP,
            norm=LogNorm(LEAST, 1.0), linewidth=0, zorder=3,
        )  # fmt: skip
        axes.scatter(
            value[verified].real, value[verified].imag, s=60, facecolors="none", edgecolors=SERIES[1],
            linewidth=1.2, zorder=4,
        )  # fmt: skip
        reach = max(1.15, 1.08 * float(np.abs(value).max(initial=0.0)))
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        axes.set_xlabel("real part")
        axes.set_ylabel("imaginary part")
        figure.colorbar(dots, ax=axes, label="residual", shrink=0.85)

    title = f"{sentence(model)}: eigenvalues and their residuals"
    contours = " Lines: the smallest residual that any function has at that place." if has_plane else ""
    caption = (
        f"Dark: large residual, an eigenvalue of the dictionary rather than of the system; rings: within the "
        f"tolerance.{contours} Certificate: {certificate}."
    )
    alt = f"{value.size} eigenvalues, {int(verified.sum())} verified, residuals {residual.min():.2g} to "
    return Picture(name, title, caption, f"{alt}{residual.max():.2g}", draw(plot, height=3.6))


def spectral_density(diagnostics: xr.Dataset, model: str, name: str) -> Picture:
    """Draw the spectral density of an observable over the angles of eigenvalues.

    Args:
        diagnostics: `spectral_density` `(angle)`.
        model: Whose it is.
        name: Of the picture.
    """
    density = diagnostics["spectral_density"]
    peak = float(density["angle"].values[int(np.argmax(density.values))])

    def plot(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot(density["angle"].values, density.values, color=SERIES[0])
        axes.axhline(0, color=INK, linewidth=0.7)
        axes.set_xlim(-np.pi, np.pi)
        axes.set_xticks([-np.pi, -np.pi / 2, 0, np.pi / 2, np.pi], ["-π", "-π/2", "0", "π/2", "π"])
        axes.set_xlabel("angle a step")
        axes.set_ylabel("density")

    title = f"{sentence(model)}: spectral density"
    caption = (
        "How the power of the leading component is spread over frequencies: peaks are oscillations, what is "
        "broad is mixing."
    )
    return Picture(name, title, caption, f"{title}, highest at {peak:.2f}", draw(plot))
