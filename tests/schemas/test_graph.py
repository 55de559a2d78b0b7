"""The graph as text, as Mermaid and as a picture."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from schemas.drawing import to_svg
from schemas.graph import Graph, graph_of, to_mermaid, to_text
from schemas.pipeline import load

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def graph() -> Graph:
    return graph_of(load(Path(__file__).parent / "data" / "twin.yaml"))


def test_a_step_stands_right_of_all_that_it_needs(graph: Graph) -> None:
    layers = {node.name: node.layer for node in graph.nodes}
    assert layers["truth"] == 0
    assert all(layers[edge.source] < layers[edge.target] for edge in graph.edges)


def test_edges_say_what_flows_and_a_pair_of_steps_has_one(graph: Graph) -> None:
    labels = {(edge.source, edge.target): edge.label for edge in graph.edges}
    assert len(labels) == len(graph.edges)
    assert labels["truth", "perfect"] == "system (model), test (dataset)"
    assert labels["dynamics", "analysis"] == "model"
    assert labels["truth", "scores"] == "test (dataset)"


def test_the_text_has_a_line_a_step_with_sizes(graph: Graph) -> None:
    lines = to_text(graph).splitlines()
    assert lines[0] == "twin"
    assert lines[1].split() == ["truth", "generate", "lorenz96", "(2", "×", "300", "records,", "state", "40)"]
    assert lines[3].endswith("<- dynamics [model], truth [test (dataset)]")


def test_mermaid_has_a_node_a_step_and_an_arrow_an_edge(graph: Graph) -> None:
    text = to_mermaid(graph)
    assert text.startswith("flowchart LR\n")
    assert text.count("-->") == len(graph.edges)
    assert all(f"<b>{node.name}</b>" in text for node in graph.nodes)


def test_the_picture_is_svg_in_which_no_box_covers_another(graph: Graph) -> None:
    root = ElementTree.fromstring(to_svg(graph))
    assert root.tag == f"{SVG}svg"
    assert root.find(f"{SVG}title") is not None
    boxes = [
        tuple(float(rect.attrib[name]) for name in ("x", "y", "width", "height"))
        for rect in root.iter(f"{SVG}rect")
        if rect.attrib.get("stroke-width")
    ]
    assert len(boxes) == len(graph.nodes)
    for index, (x, y, width, height) in enumerate(boxes):
        for a, b, c, d in boxes[index + 1 :]:
            assert x + width <= a or a + c <= x or y + height <= b or b + d <= y
    _, _, right, bottom = (float(number) for number in root.attrib["viewBox"].split())
    assert all(
        x >= 0 and y >= 0 and x + width <= right and y + height <= bottom for x, y, width, height in boxes
    )


def test_names_are_escaped_and_the_picture_is_the_same_every_time(graph: Graph) -> None:
    odd = Graph("a <b> & c", graph.nodes, graph.edges)
    assert "<title>Pipeline a &lt;b&gt; &amp; c</title>" in to_svg(odd)
    assert to_svg(graph) == to_svg(graph)
