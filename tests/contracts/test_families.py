"""What every method of every family promises to the language."""

import inspect
from importlib.metadata import EntryPoint
from typing import Annotated, Any, Literal

import pytest
from pydantic import TypeAdapter, ValidationError

from koopcast import spec as spec_module
from koopcast.spec import Family, MethodSpec, Spec, kind_of, members
from schemas.catalog import FILE, SCHEMA_FILE, families, first_sentence, steps, to_markdown
from schemas.jsonschema import to_text
from schemas.references import Ref
from schemas.walk import alternatives, annotation_of

METHODS = [(family, method) for family, methods in families().items() for method in methods]
COMPLETE = [
    method for _, method in METHODS if not any(field.is_required() for field in method.model_fields.values())
]
NAMES = [f"{family}/{kind_of(method)}" for family, method in METHODS]


def blocks(spec: type[Spec]) -> list[type[Spec]]:
    """Return a spec and the blocks of options inside it, other methods left out."""
    inner = [
        choice
        for field in spec.model_fields.values()
        for choice in alternatives(annotation_of(field))
        if isinstance(choice, type) and issubclass(choice, Spec) and not issubclass(choice, MethodSpec)
    ]
    return [spec, *(below for block in inner for below in blocks(block))]


def test_the_language_reaches_every_family() -> None:
    assert set(families()) >= {
        "assimilation",
        "baselines",
        "inflation",
        "initial",
        "integrators",
        "koopman",
        "localization",
        "locations",
        "losses",
        "metrics",
        "observations",
        "operators",
        "optimizers",
        "runners",
        "schedules",
        "sources",
        "systems",
    }


@pytest.mark.parametrize(("family", "method"), METHODS, ids=NAMES)
def test_a_method_has_a_sentence_a_reference_and_a_line_for_every_option(
    family: str, method: type[MethodSpec]
) -> None:
    assert first_sentence(method).endswith(".")
    assert isinstance(method.reference, str)
    assert len(method.reference) > 3
    for block in blocks(method):
        silent = [
            name
            for name, field in block.model_fields.items()
            if name != "kind" and not (field.description or "").strip()
        ]
        assert silent == [], f"write a string under these options of {block.__name__}"


@pytest.mark.parametrize(("family", "method"), METHODS, ids=NAMES)
def test_a_method_is_picked_by_its_name_alone_where_nothing_is_required(
    family: str, method: type[MethodSpec]
) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(Annotated[method, Family(family)])
    required = sorted(name for name, field in method.model_fields.items() if field.is_required())
    if not required:
        assert adapter.validate_python(kind_of(method)) == method()
        assert adapter.validate_python({"kind": kind_of(method)}) == method()
        return
    with pytest.raises(ValidationError) as caught:
        adapter.validate_python(kind_of(method))
    assert {detail["type"] for detail in caught.value.errors()} == {"missing"}


@pytest.mark.parametrize("method", COMPLETE, ids=kind_of)
def test_a_method_is_written_and_read_again_as_the_same(method: type[MethodSpec]) -> None:
    assert method.model_validate(method().model_dump(mode="json")) == method()


@pytest.mark.parametrize(("family", "method"), METHODS, ids=NAMES)
def test_a_method_is_frozen_closed_and_whole(family: str, method: type[MethodSpec]) -> None:
    assert method.model_config["frozen"]
    assert method.model_config["extra"] == "forbid"
    assert not inspect.isabstract(method)
    assert kind_of(method) == str(method.model_fields["kind"].default)
    assert kind_of(method).replace("_", "").isalnum()


@pytest.mark.parametrize("step", steps(), ids=lambda step: step.__name__)
def test_a_step_has_a_sentence_and_a_line_for_every_option(step: type[Spec]) -> None:
    for block in blocks(step):
        silent = [
            n for n, f in block.model_fields.items() if n != "task" and not (f.description or "").strip()
        ]
        assert silent == [], f"write a string under these options of {block.__name__}"


def test_a_reference_says_which_kinds_fit() -> None:
    for step in steps():
        for field in step.model_fields.values():
            for choice in alternatives(annotation_of(field)):
                assert choice is not Ref, "write Ref[Dataset], Ref[Model], Ref[Analysis] or Ref[Scores]"


def test_the_catalog_is_fresh() -> None:
    assert FILE.read_text(encoding="utf-8") == to_markdown(), "run `python -m schemas.catalog`"
    assert SCHEMA_FILE.read_text(encoding="utf-8") == to_text(), "run `python -m schemas.catalog`"


class One(MethodSpec):
    """A method of ours."""

    kind: Literal["one"] = "one"
    size: int = 1
    reference = "here"


class Foreign(MethodSpec):
    """A method of another distribution."""

    kind: Literal["foreign"] = "foreign"
    reference = "elsewhere"


def test_a_method_of_another_distribution_stands_beside_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("foreign", f"{__name__}:Foreign", "koopcast.things")
    monkeypatch.setattr(EntryPoint, "load", lambda self: Foreign)
    monkeypatch.setattr(spec_module, "_offered", lambda: (entry,))
    spec_module.plugins.cache_clear()
    union: Any = Annotated[One, Family("things")]
    assert members(union) == (One, Foreign)
    adapter: TypeAdapter[Any] = TypeAdapter(union)
    assert adapter.validate_python("foreign") == Foreign()
    assert adapter.validate_python({"kind": "one", "size": 2}) == One(size=2)
    assert "foreign" in str(adapter.json_schema())
    with pytest.raises(ValidationError, match="'one', 'foreign'"):
        adapter.validate_python("none")
    spec_module.plugins.cache_clear()


@pytest.mark.parametrize("given", ["1", True, b"1"])
def test_a_number_is_not_read_from_text_or_truth(given: object) -> None:
    with pytest.raises(ValidationError, match="expected a number"):
        One(size=given)


def test_a_whole_number_may_be_written_with_a_point() -> None:
    assert One.model_validate({"size": 2.0}).size == 2
