"""The graph of a pipeline: as text, as Mermaid, as an SVG picture; nothing needs Graphviz."""

from dataclasses import dataclass

from koopcast.grids import FieldsInfo
from schemas.links import links, ordered
from schemas.pipeline import Loaded
from schemas.stages import Contract, Step

COLOURS = {
    "assimilate": ("#f3e8ff", "#7e22ce"),
    "evaluate": ("#ffedd5", "#c2410c"),
    "generate": ("#dcfce7", "#15803d"),
    "ingest": ("#dbeafe", "#1d4ed8"),
    "invert": ("#e0e7ff", "#4338ca"),
    "refine": ("#cffafe", "#0e7490"),
    "study": ("#fce7f3", "#be185d"),
    "train": ("#fef9c3", "#a16207"),
}
"""Fill and line of each task."""
MOST_METRICS = 3
"""Named in a node."""


@dataclass(frozen=True)
class Node:
    """One step as it is drawn."""

    name: str
    task: str
    method: str
    yields: str
    layer: int


@dataclass(frozen=True)
class Edge:
    """One reference as it is drawn; `label` says what flows."""

    source: str
    target: str
    label: str


@dataclass(frozen=True)
class Graph:
    """Steps and references, laid out in layers: a step stands right of all that it needs."""

    name: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


def graph_of(loaded: Loaded) -> Graph:
    """Return the graph of a checked pipeline."""
    steps, contracts = loaded.pipeline.steps, loaded.findings.contracts
    layers: dict[str, int] = {}
    edges: list[Edge] = []
    for name in ordered(steps):
        for link in links(steps[name]):
            source = link.ref.step if link.ref.run is None else str(link.ref)
            label = _label(link.ref.part, loaded.findings.inputs.get(name, {}).get(str(link.ref)))
            edges.append(Edge(source, name, label))
            layers.setdefault(source, 0)
        layers[name] = max((layers[edge.source] + 1 for edge in edges if edge.target == name), default=0)
    nodes = [
        _node(name, steps.get(name), contracts.get(name), layers[name], _times(loaded, name))
        for name in layers
    ]
    return Graph(loaded.pipeline.name, tuple(nodes), _gathered(edges))


def _gathered(edges: list[Edge]) -> tuple[Edge, ...]:
    """Return one edge for each pair of steps, with all that flows along it."""
    labels: dict[tuple[str, str], dict[str, None]] = {}
    for edge in edges:
        labels.setdefault((edge.source, edge.target), {})[edge.label] = None
    return tuple(Edge(*pair, ", ".join(filter(None, found))) for pair, found in labels.items())


def _times(loaded: Loaded, name: str) -> str:
    """Return how often a sweep runs a step: ` × 48`; empty where it is none of its."""
    points = loaded.points
    return f" × {points.count(name)}" if points is not None and name in points.reach else ""


def _node(name: str, step: Step | None, contract: Contract | None, layer: int, times: str) -> Node:
    if step is None:
        return Node(name, "earlier run", "", "", layer)
    methods = {
        "ingest": "source",
        "generate": "system",
        "train": "model",
        "assimilate": "method",
        "study": "study",
    }
    task = str(getattr(step, "task", ""))
    metrics = [metric.kind for metric in getattr(step, "metrics", ())]
    more = f" + {len(metrics) - MOST_METRICS}" if len(metrics) > MOST_METRICS else ""
    method = (
        getattr(step, methods[task]).kind if task in methods else ", ".join(metrics[:MOST_METRICS]) + more
    )
    if task in ("invert", "refine"):
        chosen = getattr(getattr(step, "experiment", step), "methods", {})
        method = ", ".join(dict.fromkeys(one.kind for one in chosen.values()))
    return Node(name, task, method + times, dims(contract.fields) if contract else "", layer)


def _label(part: str | None, contract: Contract | None) -> str:
    noun = contract.kind.noun if contract else ""
    return f"{part} ({noun})" if part and noun else part or noun


def dims(fields: FieldsInfo) -> str:
    """Return the sizes of fields in words: `10 x 400 records, x 64`."""
    space = ", ".join(f"{axis.name} {axis.size}" for axis in fields.axes)
    samples = f"{fields.samples} × " if fields.samples > 1 else ""
    return f"{samples}{fields.time.size} records, {space}"


def to_text(graph: Graph) -> str:
    """Return one line a step with what it needs, in order."""
    width = max((len(node.name) for node in graph.nodes), default=0)
    lines = [graph.name]
    for node in graph.nodes:
        sources = [
            f"{edge.source} [{edge.label}]" if edge.label else edge.source
            for edge in graph.edges
            if edge.target == node.name
        ]
        arrow = f"  <- {', '.join(sources)}" if sources else ""
        about = " ".join(filter(None, (node.task, node.method)))
        lines.append(f"  {node.name:<{width}}  {about}{f'  ({node.yields})' if node.yields else ''}{arrow}")
    return "\n".join(lines) + "\n"


def to_mermaid(graph: Graph) -> str:
    """Return a Mermaid flowchart."""
    numbers = {node.name: f"n{index}" for index, node in enumerate(graph.nodes)}
    lines = ["flowchart LR"]
    for node in graph.nodes:
        about = "<br/>".join(
            filter(None, (f"<b>{node.name}</b>", f"{node.task} {node.method}".strip(), node.yields))
        )
        lines.append(f'  {numbers[node.name]}["{about}"]:::{node.task.replace(" ", "_")}')
    for edge in graph.edges:
        label = f'|"{edge.label}"|' if edge.label else ""
        lines.append(f"  {numbers[edge.source]} -->{label} {numbers[edge.target]}")
    lines += [
        f"  classDef {task} fill:{fill},stroke:{line},color:#111827" for task, (fill, line) in COLOURS.items()
    ]
    return "\n".join(lines) + "\n"
