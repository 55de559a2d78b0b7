"""Broken pipelines: each refused with its line, its column and a remedy, all faults at once, and nothing
written.
"""

from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from schemas.faults import PipelineInvalid
from schemas.pipeline import load

DATA = Path(__file__).parent / "data"
VALID = (DATA / "twin.yaml").read_text(encoding="utf-8")

BROKEN = yaml.safe_load((DATA / "broken.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def faults(content: str | bytes, *overrides: str) -> list[str]:
    Path("p.yaml").write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(PipelineInvalid) as caught:
        load("p.yaml", overrides)
    assert str(caught.value).splitlines() == [str(fault) for fault in caught.value.faults]
    return [str(fault) for fault in caught.value.faults]


def assert_faults(found: list[str], expected: Sequence[Sequence[str]]) -> None:
    assert [line.partition(": ")[0] for line in found] == [f"p.yaml:{place}" for place, _ in expected], found
    for line, (_, words) in zip(found, expected, strict=True):
        assert words in line


def test_the_pipeline_that_is_broken_below_is_valid(folder: Path) -> None:
    Path("p.yaml").write_text(VALID)
    assert load("p.yaml").pipeline.name == "twin"


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_pipeline_is_refused_with_place_and_remedy(folder: Path, case: str) -> None:
    old, new = BROKEN[case]["replace"], BROKEN[case]["by"]
    assert old in VALID
    assert_faults(faults(VALID.replace(old, new, 1)), BROKEN[case]["faults"])
    assert [path.name for path in folder.iterdir()] == ["p.yaml"]


# content that is not YAML as we read it, and the one fault
UNREADABLE = {
    "tab indentation": (b"name: x\nsteps:\n\ta: 1\n", "p.yaml:3:1  a tab cannot indent YAML; use spaces"),
    "empty file": (b"", "p.yaml:1:1  the file is empty; write `name:` and `steps:`"),
    "comments alone": (b"# nothing\n", "p.yaml:1:1  the file is empty; write `name:` and `steps:`"),
    "a list": (b"- name: x\n", "p.yaml:1:1  expected a map with `name:` and `steps:`, was given a list"),
    "two documents": (
        b"name: x\n---\nname: y\n",
        "p.yaml:2:1  a second document; keep one pipeline in a file and remove the `---`",
    ),
    "python object": (
        b"name: x\nsteps: !!python/object/apply:os.system [ls]\n",
        "p.yaml:2:8  steps: tag '!!python/object/apply:os.system' is not allowed; "
        "remove it and write the plain value",
    ),
    "alias that contains itself": (
        b"name: x\nsteps: &a {b: *a}\n",
        "p.yaml:2:15  steps.b: anchor &a contains itself; an alias cannot refer to what it stands in",
    ),
    "alias of nothing": (
        b"name: x\nsteps: *a\n",
        "p.yaml:2:8  steps: alias *a has no anchor &a above it; define it first",
    ),
    "alias bomb": (
        b"a: &a [1,1,1,1,1,1,1,1,1,1]\n"
        + b"".join(
            b"%c: &%c [%s]\n" % (name, name, b",".join([b"*%c" % (name - 1)] * 10)) for name in range(98, 123)
        ),
        "p.yaml:5:4  e: more than 20000 values after its aliases are expanded; write fewer",
    ),
    "nesting without end": (
        b"a: " + b"[" * 5000,
        f"p.yaml:1:35  a{'.0' * 31}: nested deeper than 32 levels; flatten it",
    ),
    "not UTF-8": (
        b"name: x\nsteps: caf\xe9\n",
        "p.yaml:2:11  byte 0xe9 is not UTF-8; save the file as UTF-8",
    ),
    "control character": (
        b"name: x\nseed: \x07\n",
        "p.yaml:2:7  the character U+0007 cannot stand in YAML; remove it",
    ),
    "escape that a terminal obeys": (
        b'name: x\ndescription: "a\\u009b31m"\nsteps: {}\n',
        "p.yaml:2:14  description: a control character inside a text; remove it",
    ),
    "letters that turn a line around": (
        b'name: x\ndescription: "a\\u202egpj.exe"\nsteps: {}\n',
        "p.yaml:2:14  description: a control character inside a text; remove it",
    ),
    "number as a key": (
        b"name: x\nsteps: {1: a}\n",
        "p.yaml:2:9  steps: a key must be text, was given 1; quote it",
    ),
    "map as a key": (
        b"name: {{ x }}\n",
        "p.yaml:1:8  name: a key must be text, was given a map or list; check the brackets",
    ),
    "brace without end": (
        b"name: {a: 1\nb: 2\n",
        "p.yaml:1:7  a '{' that is not closed, or a ',' is missing",
    ),
    "quote without end": (b"name: 'x\n", "p.yaml:1:7  a quote that is not closed; add the closing quote"),
    "crooked indentation": (
        b"name: x\n  seed: 1\n",
        "p.yaml:2:7  an unexpected ':'; check the indentation, or quote a value that holds ':'",
    ),
    "merge of no map": (
        b"name: x\nsteps: {<<: 1}\n",
        "p.yaml:2:9  steps: `<<` merges maps only; give it an alias (*name) of a map, or a list of them",
    ),
    "large file": (
        b"#" * 300_000,
        "p.yaml:1:1  the file has more than 262144 bytes; a pipeline is a short text, check the path",
    ),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_a_file_that_cannot_be_read_is_refused_with_its_place(folder: Path, case: str) -> None:
    content, expected = UNREADABLE[case]
    assert faults(content) == [expected]


def test_a_file_that_is_not_there_is_refused(folder: Path) -> None:
    with pytest.raises(PipelineInvalid, match=r"^none\.yaml  no such file; check the path$"):
        load("none.yaml")


def test_a_pipeline_without_steps_is_refused(folder: Path) -> None:
    assert faults("name: x\n") == [
        "p.yaml:1:1  `steps` is required: what is done, by name; edges come from references alone"
    ]
    assert faults("name: x\nsteps: {}\n") == [
        "p.yaml:2:1  steps: needs at least 1 item, was given a map with 0 keys"
    ]


def test_faults_of_grammar_references_and_shapes_come_together(folder: Path) -> None:
    broken = (
        VALID.replace("kind: edmd", "kind: emdd")
        .replace("seed: 1", "seed: -1")
        .replace(
            "observations: synthetic", "observations: {kind: synthetic, locations: {kind: random, count: 41}}"
        )
        .replace("    data: truth\n    model: fno", "    data: trth\n    model: fno")
    )
    assert_faults(
        faults(broken),
        [
            ("2:7  seed", "must be at least 0"),
            ("13:19  steps.dynamics.model", "unknown kind"),
            ("24:70  steps.perfect.observations.locations.count", "41 sites"),
            ("29:11  steps.network.data", "did you mean 'truth'?"),
        ],
    )


def test_a_loop_is_named_along_its_edges(folder: Path) -> None:
    found = faults(
        """\
name: loop
steps:
  t: {task: train, data: u, model: dmd}
  u: {task: train, data: t, model: dmd}
"""
    )
    assert found == [
        "p.yaml:3:26  steps.t.data: 'u' is a model, expected a dataset; add a step that yields a dataset",
        "p.yaml:3:26  steps.t.data: steps refer to one another in a loop: t -> u -> t; break it",
        "p.yaml:4:26  steps.u.data: 't' is a model, expected a dataset; add a step that yields a dataset",
    ]
