"""`extends` and `--set`: one document laid over another, every fault with its place."""

from pathlib import Path

import pytest

from schemas.faults import PipelineInvalid
from schemas.merge import read_extended, with_overrides
from schemas.pipeline import load
from schemas.positions import mark_of, plain

VALID = (Path(__file__).parent / "data" / "twin.yaml").read_text(encoding="utf-8")


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder / f"{next(iter(files))}.yaml"


def test_maps_merge_null_deletes_and_all_else_replaces(tmp_path: Path) -> None:
    top = write(
        tmp_path,
        top="extends: base.yaml\na: {x: 9, z: 3}\nb: null\nc: [3]\n",
        base="a: {x: 1, y: 2}\nb: 1\nc: [1, 2]\nd: 4\n",
    )
    assert plain(read_extended(top)) == {"a": {"x": 9, "y": 2, "z": 3}, "c": [3], "d": 4}


def test_another_kind_replaces_the_whole_block_and_a_bare_name_takes_options(tmp_path: Path) -> None:
    top = write(
        tmp_path,
        top="extends: base.yaml\na: {kind: fno, width: 8}\nb: {width: 8}\nc: {rank: 3}\n",
        base="a: {kind: edmd, rank: 8}\nb: fno\nc: {kind: edmd, ridge: 1}\n",
    )
    assert plain(read_extended(top)) == {
        "a": {"kind": "fno", "width": 8},
        "b": {"kind": "fno", "width": 8},
        "c": {"kind": "edmd", "rank": 3, "ridge": 1},
    }


def test_a_value_stands_in_the_file_that_wrote_it(tmp_path: Path) -> None:
    top = write(tmp_path, top="extends: base.yaml\na: {x: 9}\n", base="a: {x: 1,\n    y: 2}\n")
    root = read_extended(top)
    assert mark_of(root, ("a", "x")).file == str(top)
    mark = mark_of(root, ("a", "y"))
    assert (Path(mark.file).name, mark.line, mark.column) == ("base.yaml", 2, 8)


def test_files_that_extend_one_another_are_refused_by_naming_the_loop(tmp_path: Path) -> None:
    top = write(tmp_path, a="extends: b.yaml\n", b="x: 1\nextends: c.yaml\n", c="extends: a.yaml\n")
    with pytest.raises(PipelineInvalid) as caught:
        read_extended(top)
    assert str(caught.value).endswith(
        "c.yaml:1:10  extends: files extend one another: a.yaml -> b.yaml -> c.yaml -> a.yaml; break the loop"
    )


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("none.yaml", "no such file: none.yaml; the path is relative to this file"),
        ("[a, b]", "expected the path of a file; write `extends: base.yaml`"),
        ("", "expected the path of a file"),
    ],
)
def test_a_base_that_is_not_there_is_refused_with_its_place(tmp_path: Path, written: str, words: str) -> None:
    with pytest.raises(PipelineInvalid, match=r"top\.yaml:1:\d+  extends: ") as caught:
        read_extended(write(tmp_path, top=f"extends: {written}\n"))
    assert words in str(caught.value)


def test_a_fault_in_the_base_is_placed_in_the_base(tmp_path: Path) -> None:
    top = write(tmp_path, top="extends: base.yaml\nname: other\n", base=VALID.replace("rank: 8", "rank: -8"))
    with pytest.raises(PipelineInvalid, match=r"base\.yaml:13:31  steps\.dynamics\.model\.rank: "):
        load(top)


def test_a_pipeline_that_extends_another_is_the_other_with_its_changes(tmp_path: Path) -> None:
    top = write(
        tmp_path, top="extends: base.yaml\nname: other\nsteps: {dynamics: {model: {rank: 4}}}\n", base=VALID
    )
    loaded = load(top)
    assert loaded.pipeline.name == "other"
    assert loaded.pipeline.steps["dynamics"].model.rank == 4
    assert loaded.pipeline.steps["dynamics"].model.delays == 2


def overridden(tmp_path: Path, *overrides: str) -> object:
    return load(write(tmp_path, p=VALID), overrides).raw


def test_an_override_is_typed_like_yaml(tmp_path: Path) -> None:
    raw = overridden(
        tmp_path,
        "steps.dynamics.model.ridge=1e-3",
        "steps.scores.leads=[1, 3, 5]",
        "steps.scores.leads.2=7",
        "steps.network.model.width=8",
        "steps.network.training.optimizer={kind: adamw, learning_rate: 1e-4}",
        "steps.perfect.keep=null",
        "description=on",
    )
    steps = raw["steps"]  # type: ignore[index]
    assert steps["dynamics"]["model"] == {"kind": "edmd", "rank": 8, "delays": 2, "ridge": 1e-3}
    assert steps["scores"]["leads"] == [1, 3, 7]
    assert steps["network"]["model"] == {"kind": "fno", "width": 8}
    assert "keep" not in steps["perfect"]
    assert raw["description"] == "on"  # type: ignore[index]


BROKEN = {
    "seed": "--set seed  expected KEY=VALUE, as in `--set steps.train.model.rank=12`",
    "seed..x=1": "--set seed..x=1  expected KEY=VALUE, as in `--set steps.train.model.rank=12`",
    "seed.x=1": "--set seed.x=1  seed.x: seed holds 1, which has no options below it",
    "seed=[1": "--set seed=[1  seed: a '[' that is not closed, or a ',' is missing",
    "extends=base.yaml": "--set extends=base.yaml  extends: is read before overrides; write it in the file",
    "seed=-1": "--set seed=-1  seed: must be at least 0, was given -1",
    "steps.dynamcs.model.rank=3": "--set steps.dynamcs.model.rank=3  steps.dynamcs: unknown step 'dynamcs'; "
    "did you mean 'dynamics'? (steps: analysis, dynamics, network, perfect, scores, truth)",
    "steps.scores.leads.2=7": "--set steps.scores.leads.2=7  steps.scores.leads.2: '2' is no index of this "
    "list; use a number (0 to 1)",
    "steps.scores.of.0=dynamcs": "--set steps.scores.of.0=dynamcs  steps.scores.of.0: there is no step "
    "'dynamcs'; did you mean 'dynamics'? (steps: analysis, dynamics, network, perfect, scores, truth)",
}


@pytest.mark.parametrize("override", BROKEN)
def test_a_broken_override_is_refused_under_its_own_name(tmp_path: Path, override: str) -> None:
    with pytest.raises(PipelineInvalid) as caught:
        overridden(tmp_path, override)
    assert str(caught.value) == BROKEN[override]


def test_an_unknown_key_in_an_override_gets_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(PipelineInvalid) as caught:
        overridden(tmp_path, "steps.dynamics.modle.rank=3")
    assert "steps.dynamics.modle: unknown key 'modle'; did you mean 'model'?" in str(caught.value)


def test_all_broken_overrides_are_reported(tmp_path: Path) -> None:
    root = read_extended(write(tmp_path, p=VALID))
    with pytest.raises(PipelineInvalid) as caught:
        with_overrides(root, ["seed", "seed.x=1"])
    assert len(caught.value.faults) == 2
