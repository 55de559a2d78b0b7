"""The graph of a pipeline as an SVG picture: layers from left to right, few crossings, labels beside
their edges.
"""

from dataclasses import dataclass
from xml.sax.saxutils import escape

from schemas.graph import COLOURS, Edge, Graph, Node

HEIGHT, GAP_X, GAP_Y, MARGIN = 66, 56, 30, 20
LANE = 18
"""Height of the label that an edge carries."""
CHARACTER = 6.6
"""Width of a character of the small type, in pixels; bold names take a little more."""
DARK, GREY = "#0f172a", "#475569"
FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
SWEEPS = 8


@dataclass(frozen=True)
class Box:
    """Where a node, or the place where an edge passes a layer, is drawn."""

    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        """Height of its centre."""
        return self.y + self.height / 2


@dataclass(frozen=True)
class _Route:
    """An edge as the sequence of places that it passes: a node, via empty places of the layers between,
    a node.
    """

    edge: Edge
    places: tuple[str, ...]


def to_svg(graph: Graph) -> str:
    """Return the picture; it has a title and a description for those who cannot see it."""
    nodes = {node.name: node for node in graph.nodes}
    routes = [_route(edge, nodes) for edge in graph.edges]
    layers = _ordered_layers(nodes, routes)
    boxes = _boxes(layers, nodes, routes)
    width = max(box.x + box.width for box in boxes.values()) + MARGIN
    height = max(box.y + box.height for box in boxes.values()) + MARGIN
    ends = _ends(routes, boxes)
    body = [_edge(route, boxes, ends) for route in routes] + [
        _node(nodes[name], boxes[name]) for name in nodes
    ]
    labels = [_edge_label(route, boxes, ends) for route in routes if route.edge.label]
    described = "; ".join(f"{edge.source} to {edge.target}" for edge in graph.edges)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" role="img" font-family="{FONT}" style="max-width:100%;height:auto">\n'
        f"<title>Pipeline {escape(graph.name)}</title>\n<desc>{escape(described)}</desc>\n"
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#64748b"/></marker></defs>\n'
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>\n'
        + "\n".join([*body, *labels])
        + "\n</svg>\n"
    )


def _route(edge: Edge, nodes: dict[str, Node]) -> _Route:
    between = range(nodes[edge.source].layer + 1, nodes[edge.target].layer)
    return _Route(
        edge, (edge.source, *(f"{edge.source}>{edge.target}@{layer}" for layer in between), edge.target)
    )


def _ordered_layers(nodes: dict[str, Node], routes: list[_Route]) -> list[list[str]]:
    """Return the places of each layer from top to bottom, moved towards the mean of their neighbours."""
    count = max((node.layer for node in nodes.values()), default=0) + 1
    layers: list[list[str]] = [
        [name for name, node in nodes.items() if node.layer == index] for index in range(count)
    ]
    for route in routes:
        for offset, place in enumerate(route.places[1:-1], start=1):
            layer = layers[nodes[route.edge.source].layer + offset]
            if place not in layer:
                layer.append(place)
    neighbours = _neighbours(routes)
    for sweep in range(SWEEPS):
        order = range(1, count) if sweep % 2 == 0 else range(count - 2, -1, -1)
        for index in order:
            fixed = layers[index - 1 if sweep % 2 == 0 else index + 1]
            rank = {place: position / max(1, len(fixed)) for position, place in enumerate(fixed)}
            layers[index] = sorted(
                layers[index], key=lambda place: _mean([rank[n] for n in neighbours[place] if n in rank])
            )
    return layers


def _neighbours(routes: list[_Route]) -> dict[str, list[str]]:
    result: dict[str, list[str]] = {}
    for route in routes:
        for one, other in zip(route.places, route.places[1:], strict=False):
            result.setdefault(one, []).append(other)
            result.setdefault(other, []).append(one)
    return _Always(result)


class _Always(dict[str, list[str]]):
    """Neighbours of a place; none for a step that stands alone."""

    def __missing__(self, place: str) -> list[str]:
        return []


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.5


def _boxes(layers: list[list[str]], nodes: dict[str, Node], routes: list[_Route]) -> dict[str, Box]:
    tallest = max(sum(_height(place, nodes) + GAP_Y for place in layer) for layer in layers)
    result: dict[str, Box] = {}
    x = float(MARGIN)
    for index, layer in enumerate(layers):
        width = max((_width(nodes[place]) for place in layer if place in nodes), default=0.0)
        y = MARGIN + (tallest - sum(_height(place, nodes) + GAP_Y for place in layer)) / 2
        for place in layer:
            result[place] = Box(x, y, width, _height(place, nodes))
            y += _height(place, nodes) + GAP_Y
        labels = [route.edge.label for route in routes if nodes[route.edge.target].layer == index + 1]
        x += width + GAP_X + CHARACTER * max(map(len, labels), default=0)
    return result


def _height(place: str, nodes: dict[str, Node]) -> float:
    return HEIGHT if place in nodes else LANE


def _width(node: Node) -> float:
    longest = max(1.25 * len(node.name), len(_second_line(node)), len(node.yields))
    return max(120.0, CHARACTER * longest + 28)


def _second_line(node: Node) -> str:
    return " · ".join(filter(None, (node.task, node.method)))


def _node(node: Node, box: Box) -> str:
    fill, line = COLOURS.get(node.task, ("#f1f5f9", "#475569"))
    left = box.x + 14
    texts = (
        (23, f'font-size="14" font-weight="650" fill="{DARK}"', node.name),
        (40, f'font-size="12" fill="{line}"', _second_line(node)),
        (56, f'font-size="11.5" fill="{GREY}"', node.yields),
    )
    lines = [
        f'<rect x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height}" rx="8" '
        f'fill="{fill}" stroke="{line}" stroke-width="1.4"/>'
    ]
    lines += [
        f'<text x="{left:.1f}" y="{box.y + y:.1f}" {style}>{escape(text)}</text>' for y, style, text in texts
    ]
    return "<g>" + "".join(lines) + "</g>"


Ends = dict[tuple[str, str], float]
"""(place that an edge is at, place at its other side) -> height where it touches the first."""


def _ends(routes: list[_Route], boxes: dict[str, Box]) -> Ends:
    """Spread the edges that touch a node over its side, in the order of where they come from."""
    result: Ends = {}
    for side in (1, -1):
        touching: dict[str, list[str]] = {}
        for route in routes:
            for one, other in zip(route.places[::side], route.places[::side][1:], strict=False):
                touching.setdefault(one, []).append(other)
        for place, others in touching.items():
            for rank, other in enumerate(sorted(others, key=lambda name: boxes[name].middle), start=1):
                result[place, other] = boxes[place].y + boxes[place].height * rank / (len(others) + 1)
    return result


def _edge(route: _Route, boxes: dict[str, Box], ends: Ends) -> str:
    first = boxes[route.places[0]]
    path = f"M{first.x + first.width:.1f} {ends[route.places[0], route.places[1]]:.1f}"
    for one, other in zip(route.places, route.places[1:], strict=False):
        is_last = other == route.places[-1]
        start, end = boxes[one].x + boxes[one].width, boxes[other].x - (2 if is_last else 0)
        y, target, bend = ends[one, other], ends[other, one], (end - start) / 2
        path += f"C{start + bend:.1f} {y:.1f} {end - bend:.1f} {target:.1f} {end:.1f} {target:.1f}"
        if not is_last:
            path += f"H{boxes[other].x + boxes[other].width:.1f}"
    return f'<path d="{path}" fill="none" stroke="#64748b" stroke-width="1.4" marker-end="url(#tip)"/>'


def _edge_label(route: _Route, boxes: dict[str, Box], ends: Ends) -> str:
    before, last = route.places[-2:]
    start = boxes[before].x + boxes[before].width
    x, y = (start + boxes[last].x) / 2, (ends[before, last] + ends[last, before]) / 2
    width = CHARACTER * len(route.edge.label) + 8
    return (
        f'<g><rect x="{x - width / 2:.1f}" y="{y - 9:.1f}" width="{width:.1f}" height="17" rx="8" '
        f'fill="#ffffff" opacity="0.92"/><text x="{x:.1f}" y="{y + 3.5:.1f}" font-size="11" '
        f'text-anchor="middle" fill="{GREY}">'
        f"{escape(route.edge.label)}</text></g>"
    )
