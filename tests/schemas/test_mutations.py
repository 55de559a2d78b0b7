"""Whatever is done to a valid pipeline, the answer is a pipeline or a list of faults, never a traceback."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from schemas.faults import Fault, PipelineInvalid
from schemas.jsonschema import cycle_schema, json_schema
from schemas.load import is_cycle, parse
from schemas.pipeline import Pipeline, load
from schemas.positions import plain

TEXT = (Path(__file__).parent / "data" / "twin.yaml").read_text(encoding="utf-8")
DOCUMENT: dict[str, Any] = plain(parse(TEXT.encode(), "twin.yaml"))
PATIENT: dict[str, Any] = {
    "deadline": None,
    "derandomize": True,
    "suppress_health_check": [HealthCheck.function_scoped_fixture],
}


def paths(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, below in items for found in paths(below, (*path, key)))]


def at(value: Any, path: tuple[str | int, ...]) -> Any:
    for part in path:
        value = value[part]
    return value


PATHS = paths(DOCUMENT)[1:]
WORDS = [
    "",
    "train",
    "truth",
    "truth.test",
    "runs://a/latest/b",
    "fno",
    "edmd",
    "test",
    "nan",
    "1e9",
    "é",
    "a.b",
    "/dev/null",
]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**19), 10**19),
    st.sampled_from([0, 1, 2, 3, 10**6, 10**9, 10**12, 10**17]),
    st.floats(),
    st.sampled_from(WORDS),
    st.text(max_size=8),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["kind", "task", "a", "data", "rank", "train"]), inner, max_size=3),
        st.sampled_from(PATHS).map(lambda path: copy.deepcopy(at(DOCUMENT, path))),
    ),
    max_leaves=4,
)


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """Delete, rename, repeat or replace up to three nodes."""
    document = copy.deepcopy(DOCUMENT)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(PATHS))
        try:
            parent = at(document, path[:-1])
            parent[path[-1]]
        except (KeyError, IndexError, TypeError):
            continue
        action = draw(st.sampled_from(["delete", "rename", "repeat", "replace", "replace"]))
        if action == "replace":
            parent[path[-1]] = draw(VALUES)
        elif action == "delete":
            del parent[path[-1]]
        elif isinstance(parent, list):
            parent.append(parent[int(path[-1])])
        elif action == "rename":
            parent[draw(st.sampled_from(["x", "kind", "data", "of", str(path[-1]) + "s"]))] = parent.pop(
                path[-1]
            )
    return document


def answer(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    faults: list[Fault] | None = None
    try:
        load(file)
    except PipelineInvalid as error:
        faults = error.faults
    assert faults is None or (faults and all(fault.message and fault.file == str(file) for fault in faults))


@settings(max_examples=500, **PATIENT)
@given(document=mutated())
def test_a_pipeline_with_changed_nodes_gives_a_pipeline_or_faults(
    tmp_path: Path, document: dict[str, Any]
) -> None:
    answer(tmp_path / "p.yaml", yaml.safe_dump(document, allow_unicode=True, sort_keys=False).encode())


@settings(max_examples=300, **PATIENT)
@given(
    edits=st.lists(
        st.tuples(
            st.integers(0, len(TEXT) - 1),
            st.sampled_from(["flip", "insert", "delete", "cut"]),
            st.integers(0, 255),
        ),
        min_size=1,
        max_size=4,
    )
)
@example(edits=[(0, "cut", 0)])
def test_a_pipeline_with_changed_bytes_gives_a_pipeline_or_faults(
    tmp_path: Path, edits: list[tuple[int, str, int]]
) -> None:
    content = bytearray(TEXT.encode())
    for place, action, byte in edits:
        place = min(place, len(content))
        if action == "flip" and place < len(content):
            content[place] = byte
        elif action == "insert":
            content[place:place] = bytes([byte])
        elif action == "delete":
            del content[place : place + 1]
        elif action == "cut":
            del content[place:]
    answer(tmp_path / "p.yaml", bytes(content))


SCHEMA = Draft202012Validator(json_schema())
REPLACEMENTS: list[Any] = [None, True, -1, 1.5, "word", "12", [], {}, [1], {"kind": "none"}, {"a": 1}]


def structural_mutations() -> list[tuple[str, dict[str, Any]]]:
    """Every node deleted, given an unknown key, and replaced by a value of each type, one at a time."""
    result = []
    for path in PATHS:
        for replacement in REPLACEMENTS:
            document = copy.deepcopy(DOCUMENT)
            at(document, path[:-1])[path[-1]] = replacement
            result.append((f"{path} = {replacement!r}", document))
        document = copy.deepcopy(DOCUMENT)
        del at(document, path[:-1])[path[-1]]
        result.append((f"{path} deleted", document))
        if isinstance(at(DOCUMENT, path), dict) and path != ("steps",):
            document = copy.deepcopy(DOCUMENT)
            at(document, path)["unknown_key"] = 1
            result.append((f"{path} with an unknown key", document))
    return result


def refusal(document: dict[str, Any]) -> set[str]:
    """Return the types of the errors of the grammar; those of validators written in Python are beyond
    JSON Schema.
    """
    try:
        Pipeline.model_validate(document)
    except ValidationError as error:
        return {detail["type"] for detail in error.errors()}
    return set()


def test_the_json_schema_and_the_loader_agree_on_every_structural_mutation() -> None:
    mutations = structural_mutations()
    assert len(mutations) > 500
    for name, document in mutations:
        types = refusal(document)
        is_valid = SCHEMA.is_valid(json.loads(json.dumps(document)))
        if not types:
            assert is_valid, f"{name}: the schema alone refuses"
        elif types - {"value_error", "reference"}:
            assert not is_valid, f"{name}: the loader alone refuses, with {types}"


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "pipelines").rglob("*.yaml")), ids=lambda p: p.stem
)
def test_every_shipped_pipeline_validates_against_the_json_schema(path: Path) -> None:
    schema = Draft202012Validator(cycle_schema()) if is_cycle(path) else SCHEMA
    errors = [error.message for error in schema.iter_errors(plain(parse(path.read_bytes(), path.name)))]
    assert errors == []
