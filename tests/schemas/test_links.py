"""References between steps: what they may name, what follows from them."""

import pytest
from pydantic import TypeAdapter, ValidationError

from schemas.links import links, loop, needs, ordered, with_truth
from schemas.references import Analysis, Dataset, Model, Ref
from schemas.stages import AnyStep, Step

ADAPTER: TypeAdapter[Step] = TypeAdapter(AnyStep)


def steps(**written: dict[str, object]) -> dict[str, Step]:
    return {name: ADAPTER.validate_python(value) for name, value in written.items()}


DATA = {"task": "generate", "system": "lorenz63", "split": {"time": {"train": 800, "test": 200}}}
TRAIN = {"task": "train", "data": "d", "model": "dmd"}
CYCLE = {
    "task": "assimilate",
    "model": "d.system",
    "data": "d.test",
    "observations": "synthetic",
    "method": "etkf",
}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("sst", ("sst", None, None)),
        ("sst.test", ("sst", "test", None)),
        ("runs://sst/latest/dynamics", ("dynamics", None, "sst/latest")),
        ("runs://sst-2/20260101-1/sst.test", ("sst", "test", "sst-2/20260101-1")),
    ],
)
def test_a_reference_is_read_and_written_alike(text: str, parts: tuple[str | None, ...]) -> None:
    ref = Ref.parse(text)
    assert (ref.step, ref.part, ref.run) == parts
    assert str(ref) == text
    assert ref == Ref.parse(text)
    assert hash(ref) == hash(Ref.parse(text))


@pytest.mark.parametrize(
    "text", ["", "1st", "a.b.c", "a-b", "a.", ".a", "runs://a/b", "file://a/b/c", "a b", "a\n"]
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="is not a reference"):
        TypeAdapter(Ref[Dataset]).validate_python(text)


def test_a_reference_knows_what_may_stand_there() -> None:
    assert TypeAdapter(Ref[Dataset]).validate_python("a").kinds == (Dataset,)
    assert TypeAdapter(Ref[Model | Analysis]).validate_python("a").kinds == (Model, Analysis)


def test_edges_come_from_references_alone() -> None:
    found = steps(d=DATA, c=CYCLE)
    assert [(link.path, str(link.ref)) for link in links(found["c"])] == [
        (("model",), "d.system"),
        (("data",), "d.test"),
    ]
    assert needs(found["c"]) == ("d",)


def test_steps_are_ordered_by_need_and_else_as_written() -> None:
    found = steps(s={"task": "evaluate", "of": ["m", "c"]}, m=TRAIN, e=DATA, c=CYCLE, d=DATA)
    assert ordered(found) == ("d", "m", "c", "s", "e")


def test_a_loop_is_found_from_wherever_it_is_entered() -> None:
    found = steps(
        x={**TRAIN, "data": "a"}, a={**TRAIN, "data": "b"}, b={**TRAIN, "data": "c"}, c={**TRAIN, "data": "a"}
    )
    assert loop(found) == ("a", "b", "c", "a")
    assert loop(steps(d=DATA, c=CYCLE)) is None


@pytest.mark.parametrize(
    ("of", "truth"),
    [
        (["m"], "d.test"),
        (["d.system"], "d.test"),
        (["c"], "d.test"),
        (["v", "m"], "d.test"),
        (["v"], "d.train"),
        (["w"], "e"),
    ],
)
def test_the_truth_is_the_test_part_of_what_a_model_was_trained_on(of: list[str], truth: str) -> None:
    found = steps(
        d=DATA,
        e={"task": "generate", "system": "lorenz63"},
        m={**TRAIN, "data": "d.train"},
        w={**TRAIN, "data": "e"},
        c=CYCLE,
        v={**CYCLE, "data": "d.train"},
        s={"task": "evaluate", "of": of},
    )
    linked = with_truth(found["s"], found)
    assert isinstance(linked, Step)
    assert str(linked.data) == truth  # type: ignore[attr-defined]


def test_models_of_different_data_need_a_truth_by_name() -> None:
    found = steps(d=DATA, e=DATA, m=TRAIN, w={**TRAIN, "data": "e"}, s={"task": "evaluate", "of": ["m", "w"]})
    assert with_truth(found["s"], found) == (
        "the models were learned from different data (d.test, e.test); name the truth with `data`"
    )


def test_a_model_of_an_earlier_run_needs_a_truth_by_name() -> None:
    found = steps(d=DATA, s={"task": "evaluate", "of": ["runs://a/latest/m"]})
    assert "name the truth with `data`" in str(with_truth(found["s"], found))
