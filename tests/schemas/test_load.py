"""The reader: what plain scalars mean, and where every value stands."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.compose import MAX_NODES
from schemas.faults import Fault, PipelineInvalid
from schemas.load import parse, read
from schemas.positions import Mapping, mark_of, plain


def values(text: str) -> object:
    return plain(parse(text.encode(), "f.yaml"))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("1e-3", 1e-3),
        ("1.0e-2", 1e-2),
        (".5", 0.5),
        ("-2", -2),
        ("010", 10),
        ("1_000", "1_000"),
        ("12:30:00", "12:30:00"),
        ("on", "on"),
        ("No", "No"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("2009-03", "2009-03"),
        ("2009-03-01", "2009-03-01"),
        ("..2009-03", "..2009-03"),
        ("nan", "nan"),
        ("'1'", "1"),
        ("'true'", "true"),
        ("pkg://module/file.nc", "pkg://module/file.nc"),
    ],
)
def test_a_plain_scalar_means_what_yaml_1_2_says(written: str, meant: object) -> None:
    found = values(f"a: {written}\n")
    assert found == {"a": meant}
    assert type(found["a"]) is type(meant)  # type: ignore[index]


def test_infinity_and_nan_are_numbers() -> None:
    found = values("a: .inf\nb: -.INF\nc: .nan\n")
    assert isinstance(found, dict)
    assert found["a"] == float("inf")
    assert found["b"] == -float("inf")
    assert found["c"] != found["c"]


def test_every_value_knows_its_line_and_column() -> None:
    root = parse(b"a: 1\nb:\n  c: [x, {d: 2}]\n  e: &n {f: 3}\ng: *n\n", "f.yaml")
    places = {
        ("a",): (1, 4),
        ("b",): (2, 1),
        ("b", "c"): (3, 6),
        ("b", "c", 0): (3, 7),
        ("b", "c", 1, "d"): (3, 14),
        ("g", "f"): (4, 13),
        ("b", "nothing", "below"): (2, 1),
    }
    for path, (line, column) in places.items():
        mark = mark_of(root, path)
        assert (mark.file, mark.line, mark.column) == ("f.yaml", line, column), path
    assert mark_of(root, ("a",), key=True).column == 1


def test_merge_keys_take_what_is_not_written() -> None:
    text = "a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\nc: {<<: [*a, *b], x: 0}\n"
    assert values(text)["c"] == {"x": 0, "y": 2, "z": 4}  # type: ignore[index]


def test_a_byte_order_mark_is_not_content() -> None:
    assert plain(parse(b"\xef\xbb\xbfa: 1\n", "f.yaml")) == {"a": 1}


def test_a_shared_alias_costs_no_memory_before_it_is_refused() -> None:
    levels = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 40))
    with pytest.raises(PipelineInvalid, match=f"more than {MAX_NODES} values"):
        parse(f"a0: &a0 [1]\n{levels}".encode(), "f.yaml")


def test_a_directory_is_no_pipeline(tmp_path: Path) -> None:
    with pytest.raises(PipelineInvalid, match="no such file"):
        read(tmp_path)


def test_duplicate_keys_are_all_found() -> None:
    with pytest.raises(PipelineInvalid) as caught:
        parse(b"a: 1\na: 2\nb: {c: 1, c: 2}\n", "f.yaml")
    assert [(fault.line, fault.column, fault.path) for fault in caught.value.faults] == [
        (2, 1, "a"),
        (3, 11, "b.c"),
    ]


def faults_of(content: bytes) -> list[Fault]:
    try:
        assert isinstance(parse(content, "f.yaml"), Mapping)
    except PipelineInvalid as error:
        return error.faults
    return []


@given(st.binary(max_size=300))
def test_any_bytes_give_a_map_or_faults(content: bytes) -> None:
    assert all(fault.message and fault.line > 0 for fault in faults_of(content))


@given(st.text(alphabet="ab:-[]{},&*!|>'\"%@`#?\n\t <~0.e", max_size=120))
def test_any_yaml_like_text_gives_a_map_or_faults(text: str) -> None:
    assert all(fault.message and fault.line > 0 for fault in faults_of(text.encode()))
