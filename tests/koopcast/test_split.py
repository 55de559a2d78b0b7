from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from koopcast.errors import DataError, EmptySelection
from koopcast.grids import Axis, FieldsInfo, TimeAxis, Window
from koopcast.split import Split, apply_split

MONTHS = np.arange("2006-04", "2010-10", dtype="datetime64[M]").astype("datetime64[ns]")
INFO = FieldsInfo({"u": "1"}, (Axis("x", 3),), TimeAxis(54, "P1M", calendar="standard"))
MODEL = FieldsInfo({"u": "1"}, (Axis("x", 3),), TimeAxis(101, 0.1), samples=10)


def test_ranges_of_dates_become_windows() -> None:
    split = Split(time={"train": "..2009-03", "valid": "2009-04..2009-09", "test": "2009-10.."})
    parts = apply_split(INFO, split, MONTHS).parts
    assert {name: part.times for name, part in parts.items()} == {
        "train": (0, 36),
        "valid": (36, 42),
        "test": (42, 54),
    }
    assert all(part.samples == (0, 1) for part in parts.values())


def test_shares_are_dealt_in_fixed_order_and_meet_without_gap() -> None:
    split = Split(sample={"test": 0.25, "train": 0.5, "valid": 0.25})
    parts = apply_split(replace(MODEL, samples=7), split, 0.1 * np.arange(101)).parts
    assert [parts[name].samples for name in ("train", "valid", "test")] == [(0, 4), (4, 5), (5, 7)]
    assert parts["train"].times == (0, 101)


def test_counts_and_both_axes_may_be_combined() -> None:
    split = Split(sample={"train": 8, "test": 2}, time={"train": "0..5", "test": "5.05.."})
    parts = apply_split(MODEL, split, 0.1 * np.arange(101)).parts
    assert parts == {"train": Window((0, 8), (0, 51)), "test": Window((8, 10), (51, 101))}


def test_parts_of_different_samples_may_share_times() -> None:
    split = Split(sample={"train": 8, "test": 2}, time={"train": "0..5", "test": "0..10"})
    assert apply_split(MODEL, split, 0.1 * np.arange(101)).parts["test"] == Window((8, 10), (0, 101))


def test_a_shared_record_is_refused_because_ranges_hold_both_ends() -> None:
    with pytest.raises(DataError, match=r"'train' and 'test' share 1 records .*2009-03-01"):
        apply_split(INFO, Split(time={"train": "..2009-03", "test": "2009-03.."}), MONTHS)


@pytest.mark.parametrize(
    "split",
    [Split(time={"test": "2011.."}), Split(sample={"train": 1, "test": 1}), Split(time={"train": 60})],
)
def test_an_empty_part_is_refused_with_what_was_asked_and_what_is_there(split: Split) -> None:
    with pytest.raises(EmptySelection, match=r"part '(test|train)' asks for .* there are (54|1) "):
        apply_split(INFO, split, MONTHS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs `time` or `sample`"),
        ({"sample": {"train": 0.9, "test": 0.2}}, "add up to 1.1"),
        ({"sample": {"train": 0.5, "test": 2}}, "mixes ranges, shares and counts"),
        ({"time": {"train": "a..b"}}, "'a' is not a date"),
        ({"time": {"training": "..2009"}}, "train"),
        ({"sample": {"train": 0}}, "greater than"),
        ({"time": {}}, "at least 1"),
    ],
)
def test_impossible_splits_are_refused_before_any_data(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Split.model_validate(options)


def test_no_split_leaves_no_parts() -> None:
    assert apply_split(INFO, None, MONTHS).parts == {}
