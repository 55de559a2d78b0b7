from typing import Annotated, Literal

import pytest
from pydantic import TypeAdapter, ValidationError

from koopcast.spec import Family, MethodSpec, Spec, kind_of, members


class _Red(MethodSpec):
    kind: Literal["red"] = "red"
    strength: float = 1.0
    reference = "hand"


class _Blue(MethodSpec):
    kind: Literal["blue"] = "blue"
    reference = "hand"


AnyColour = Annotated[_Blue | _Red, Family("colours")]
OnlyRed = Annotated[_Red, Family("colours")]


class _Picture(Spec):
    colour: AnyColour = _Red()


@pytest.mark.parametrize("family", [AnyColour, OnlyRed])
def test_a_bare_string_is_a_method_with_its_defaults(family: object) -> None:
    assert TypeAdapter(family).validate_python("red") == _Red()


def test_kind_picks_the_class_also_for_a_family_of_one() -> None:
    assert TypeAdapter(OnlyRed).validate_python({"kind": "red", "strength": 2}) == _Red(strength=2.0)
    assert _Picture.model_validate({"colour": {"kind": "blue"}}).colour == _Blue()


def test_members_are_known_by_their_kinds() -> None:
    assert [kind_of(spec) for spec in members(AnyColour)] == ["blue", "red"]
    assert members(OnlyRed) == (_Red,)


@pytest.mark.parametrize("given", ["green", {"kind": "red", "width": 1}, {"kind": "red", "strength": "2"}, 3])
def test_what_the_family_does_not_hold_is_refused(given: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(AnyColour).validate_python(given)


def test_the_schema_offers_the_short_form_too() -> None:
    schema = TypeAdapter(AnyColour).json_schema()
    assert {"enum": ["blue", "red"], "type": "string"} in schema["anyOf"]
