"""A drawing of the steps and what they read, in layers from left to right."""

from collections.abc import Sequence
from html import escape

from koopcast.report.content import StepRow

BOX_WIDTH, BOX_HEIGHT, LANE_HEIGHT, GAP_X, GAP_Y, MARGIN = 148.0, 48.0, 10.0, 54.0, 18.0, 6.0
Point = tuple[float, float]
Slot = tuple[str, int]
"""A step and a layer: its box in its own layer, a lane for what it hands on in later ones."""


def draw_graph(steps: Sequence[StepRow]) -> str:
    """Return an SVG of the steps; colours follow the page's variables, with plain ones as a fall-back."""
    known = {step.name for step in steps}
    edges = [(before, step.name) for step in steps for before in step.after if before in known]
    layers = _layers([step.name for step in steps], edges)
    places, width, height = _places(layers, edges)
    arrows = [_arrow(_path(places, layers, before, after)) for before, after in edges]
    boxes = [_box(step, *places[step.name, layers[step.name]]) for step in steps]
    spoken = "; ".join(f"{step.name} after {', '.join(step.after) or 'nothing'}" for step in steps)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" role="img" aria-label="Steps: {escape(spoken, quote=True)}">'
        f"{''.join(arrows)}{''.join(boxes)}</svg>"
    )


def _layers(names: Sequence[str], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Return the length of the longest path to each step."""
    layers = dict.fromkeys(names, 0)
    for _ in names:
        for before, after in edges:
            layers[after] = max(layers[after], layers[before] + 1)
    return layers


def _places(
    layers: dict[str, int], edges: Sequence[tuple[str, str]]
) -> tuple[dict[Slot, Point], float, float]:
    """Return the left middle of each slot, and the size of the drawing; columns are centred."""
    columns: dict[int, list[Slot]] = {}
    for name, layer in layers.items():
        columns.setdefault(layer, []).append((name, layer))
    for before, after in edges:
        for layer in range(layers[before] + 1, layers[after]):
            if (before, layer) not in columns[layer]:
                columns[layer].append((before, layer))
    heights = {
        layer: sum(_height(slot, layers) + GAP_Y for slot in column) - GAP_Y
        for layer, column in columns.items()
    }
    tallest = max(heights.values(), default=0.0)
    places = {}
    for layer, column in columns.items():
        y = MARGIN + (tallest - heights[layer]) / 2
        for slot in column:
            places[slot] = (MARGIN + layer * (BOX_WIDTH + GAP_X), y + _height(slot, layers) / 2)
            y += _height(slot, layers) + GAP_Y
    return places, 2 * MARGIN + len(columns) * (BOX_WIDTH + GAP_X) - GAP_X, 2 * MARGIN + tallest


def _height(slot: Slot, layers: dict[str, int]) -> float:
    return BOX_HEIGHT if layers[slot[0]] == slot[1] else LANE_HEIGHT


def _path(places: dict[Slot, Point], layers: dict[str, int], before: str, after: str) -> list[Point]:
    """Return the points that an arrow runs through: along the lanes of the layers in between."""
    x, y = places[before, layers[before]]
    points = [(x + BOX_WIDTH, y)]
    for layer in range(layers[before] + 1, layers[after]):
        x, y = places[before, layer]
        points += [(x, y), (x + BOX_WIDTH, y)]
    return [*points, places[after, layers[after]]]


def _arrow(points: list[Point]) -> str:
    (x, y), bend = points[0], GAP_X / 2
    path = f"M{x:g} {y:g}"
    for place, (x1, y1) in enumerate(points[1:]):
        path += (
            f" L{x1:g} {y1:g}" if place % 2 else f" C{x + bend:g} {y:g} {x1 - bend:g} {y1:g} {x1:g} {y1:g}"
        )
        x, y = x1, y1
    head = f"M{x - 7:g} {y - 4:g} L{x:g} {y:g} L{x - 7:g} {y + 4:g} Z"
    return (
        f'<path d="{path}" fill="none" style="stroke: var(--muted, #5d6873)" stroke-width="1.3"/>'
        f'<path d="{head}" style="fill: var(--muted, #5d6873)"/>'
    )


def _box(step: StepRow, x: float, y: float) -> str:
    """Return a box with the step's name, task and state, its left middle at (x, y)."""
    colours = {"failed": "var(--bad, #b3261e)", "skipped": "var(--rule, #dde2e6)"}
    colour = colours.get(step.state, "var(--muted, #5d6873)")
    middle = x + BOX_WIDTH / 2
    name = step.name if len(step.name) <= 18 else f"{step.name[:17]}…"
    return (
        f'<rect x="{x:g}" y="{y - BOX_HEIGHT / 2:g}" width="{BOX_WIDTH:g}" height="{BOX_HEIGHT:g}" rx="8" '
        f'style="fill: var(--surface, #fefefd); stroke: {colour}"/>'
        f'<text x="{middle:g}" y="{y - 4:g}" text-anchor="middle" font-size="13" font-weight="600" '
        f'style="fill: var(--ink, #1b2228)">{escape(name)}</text>'
        f'<text x="{middle:g}" y="{y + 13:g}" text-anchor="middle" font-size="11" '
        f'style="fill: var(--muted, #5d6873)">{escape(step.task)} · {escape(step.state)}</text>'
    )
