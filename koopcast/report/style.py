"""The house style of figures: type, colours, sizes, and how a drawing becomes SVG that follows the page."""

import hashlib
import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

INK, MUTED, RULE, LAND, SURFACE = "#1b2228", "#5d6873", "#dde2e6", "#c6ccd1", "#fefefd"
SERIES = ("#2563a8", "#c2521b", "#2b8050", "#8145b5", "#b02c6c", "#8a6d00")
"""Colours of subjects, in order; those of baselines are `INK` and `MUTED`, dashed."""
VARIABLES = {INK: "ink", MUTED: "muted", RULE: "rule", LAND: "land", SURFACE: "surface"} | {
    colour: f"series-{place}" for place, colour in enumerate(SERIES)
}
"""Colours that the page replaces by its own, so that figures follow light and dark."""
FIELD_MAP, SIGNED_MAP, SPREAD_MAP = "viridis", "RdBu_r", "YlGnBu"
COLUMN, WIDE = 4.5, 9.8
"""Widths in inches: half of the page, and all of it."""

SETTINGS: "dict[RcKeyType, object]" = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 5.0,
    "axes.labelsize": 9.0,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.major.size": 3.0,
    "ytick.major.size": 3.0,
    "xtick.minor.size": 0.0,
    "ytick.minor.size": 0.0,
    "lines.linewidth": 1.9,
    "lines.markersize": 5.0,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.handlelength": 1.8,
    "figure.facecolor": "none",
    "figure.constrained_layout.use": True,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "svg.image_inline": True,
    # A dollar sign in a name begins no formula.
    "text.parse_math": False,
    "axes.formatter.useoffset": False,
    "axes.formatter.limits": (-4, 5),
}


@contextmanager
def house_style() -> Iterator[None]:
    """Draw in the house style inside this block."""
    with mpl.rc_context(SETTINGS):
        yield


@dataclass(frozen=True)
class Picture:
    """A figure with what a reader needs to read it."""

    name: str
    """Of its file, and of its anchor on the page."""
    title: str
    caption: str
    alt: str
    svg: str
    """Stand-alone drawing, in the colours of this module."""
    width: Literal["column", "wide"] = "column"

    def __post_init__(self) -> None:
        """Keep the name, which may hold that of a variable, to what a file's name and an attribute can be."""
        plain = re.sub(r"[^A-Za-z0-9_-]+", "-", self.name)
        if plain != self.name:
            own = hashlib.sha256(self.name.encode("utf-8", "replace")).hexdigest()[:6]
            object.__setattr__(self, "name", f"{plain[:60]}-{own}")

    def inline(self) -> str:
        """Return the drawing as an element of the page: own ids, the page's colours, a label for screen
        readers.
        """
        body = self.svg[self.svg.index("<svg") :]
        body = re.sub(r'\bid="', f'id="{self.name}-', body)
        body = re.sub(r'href="#', f'href="#{self.name}-', body)
        body = body.replace("url(#", f"url(#{self.name}-")
        for colour, variable in VARIABLES.items():
            body = body.replace(colour, f"var(--{variable})")
        return body.replace("<svg ", f'<svg role="img" aria-label="{escape(self.alt, quote=True)}" ', 1)

    def save(self, directory: Path) -> Path:
        """Write the drawing on a plain ground as `<name>.svg` and return its path."""
        path = directory / f"{self.name}.svg"
        head, tail = re.split(r"(?<=>)(?=\s*<(?:defs|g))", self.svg, maxsplit=1)
        path.write_text(f'{head}<rect width="100%" height="100%" fill="{SURFACE}"/>{tail}', encoding="utf-8")
        return path


def draw(
    plot: Callable[[Figure], None], *, width: Literal["column", "wide"] = "column", height: float = 3.1
) -> str:
    """Return the SVG of a figure that `plot` fills."""
    with house_style():
        figure = Figure(figsize=(COLUMN if width == "column" else WIDE, height))
        plot(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", dpi=150, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    return re.sub(r'<style type="text/css">.*?</style>', "", text, flags=re.DOTALL)


def panel_title(axes: Axes, text: str, note: str = "") -> None:
    """Write the title of a panel, and a muted note at its right."""
    axes.set_title(text)
    if note:
        axes.set_title(note, loc="right", color=MUTED, fontsize=8.5)


def subject_style(name: str, models: Sequence[str], baselines: Sequence[str]) -> dict[str, Any]:
    """Return colour and dash of a subject, the same in all figures of a page."""
    if name in baselines:
        place = list(baselines).index(name)
        return {"color": MUTED, "linestyle": ((0, (4, 2)), (0, (1.2, 1.6)), (0, (6, 2, 1, 2)))[place % 3]}
    place = list(models).index(name) if name in models else 0
    return {"color": SERIES[place % len(SERIES)], "linestyle": "-"}


LABELS = {"longitude": "longitude (°E)", "latitude": "latitude (°N)"}
"""Axes whose label says more than their name."""
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
METRICS = {
    "acc": "anomaly correlation",
    "crps": "CRPS",
    "energy_spectrum": "spectral distance",
    "mode_residual": "mode residual",
    "period_error": "period error",
    "rank_histogram": "rank χ²/dof",
    "rel_l2": "relative L2 error",
    "relative_mse": "relative squared error",
    "rmse": "RMSE",
    "spread_skill": "spread over error",
}


def readable(name: str) -> str:
    """Return a name of the language as words: `surface_temperature` -> `surface temperature`."""
    return name.replace("_", " ").replace(".", " ")


def metric_title(name: str) -> str:
    """Return the name of a metric as a reader knows it, with the options that tell two of a kind apart."""
    kind, _, options = name.partition(".")
    title = METRICS.get(kind, readable(kind))
    return f"{title}, {readable(options)}" if options else title


def sentence(text: str) -> str:
    """Return a text with a capital first letter."""
    return text[:1].upper() + text[1:]


def with_units(label: str, units: str) -> str:
    """Return a label with its units, none where they are 1."""
    return label if units in ("1", "") else f"{label} ({raised(units)})"


def raised(units: str) -> str:
    """Return units with their powers raised: `K2` -> `K²`, `m s-1` -> `m s⁻¹`."""
    return re.sub(r"(?<=[A-Za-z)])-?\d+", lambda power: power[0].translate(SUPERSCRIPTS), units)
