"""What the language offers, in words."""

import pytest

from koopcast.errors import InvalidInput
from schemas.catalog import describe, overview


def test_the_overview_has_a_line_for_every_step_and_method() -> None:
    text = overview()
    for line in ("  ingest ", "  evaluate ", "  lorenz96 ", "  edmd ", "  letkf ", "  crps "):
        assert line in text


def test_a_method_is_described_with_its_options_bounds_and_reference() -> None:
    text = describe("etkf")
    assert "Reference: " in text
    assert "| `members` | whole number" in text
    assert "method of inflation" in text


def test_blocks_inside_a_method_are_described_too() -> None:
    assert "| `grid.count` | whole number ≥ 2, ≤ 1000 | `20` |" in describe("tsallis_inf")


def test_a_family_is_described_method_by_method() -> None:
    text = describe("koopman")
    assert "### dmd" in text
    assert "### edmd" in text


def test_a_step_is_described_with_what_its_references_take() -> None:
    assert "| `data` | name of a step (a dataset) | required |" in describe("train")


def test_an_unknown_name_gets_a_suggestion() -> None:
    with pytest.raises(InvalidInput, match="did you mean 'letkf'"):
        describe("letfk")
