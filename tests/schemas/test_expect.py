"""Conditions on scores: the grammar, the words, the arithmetic."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.expect import ExpectationError, Vocabulary, parse

WORDS = Vocabulary(
    ("rmse", "crps"), {"model": (1, 3), "analysis": (), "analysis.background": ()}, ("sst", "ice")
)
SCORES = {
    "rmse": {
        "model": {"1": 0.5, "3": 1.0, "all": 0.8},
        "analysis": {"all": 0.3},
        "analysis.background": {"all": math.nan},
    },
    "rmse[sst]": {"model": {"all": 0.25}},
    "crps": {"model": {"all": math.inf}, "analysis": {"all": 0.0}},
}


@pytest.mark.parametrize(
    ("text", "holds", "value"),
    [
        ("rmse(analysis) <= 0.75 * rmse(model)", True, 0.3),  # 0.75 x 0.8 = 0.6
        ("rmse(analysis) <= 0.25 * rmse(model)", False, 0.3),  # 0.2
        ("rmse(model, lead=3) > rmse(model, lead=1)", True, 1.0),
        ("rmse(model, lead=1) in [0.5, 0.6]", True, 0.5),
        ("rmse(model, lead=1) in [0.51, 0.6]", False, 0.5),
        ("rmse(model, variable=sst) < 0.26", True, 0.25),
        ("rmse(model) - rmse(analysis) * 2 < 0.21", True, 0.8 - 0.6),  # products before sums
        ("(rmse(model) - rmse(analysis)) * 2 < 0.21", False, 1.0),
        ("rmse(model) / rmse(analysis) / 2 < 1.4", True, 0.8 / 0.3 / 2),  # from left to right
        ("-rmse(model) < - 0.7", True, -0.8),
        ("rmse(model) < 1 and rmse(analysis) < 0.2", False, 0.8),
        ("rmse(model) < 1 and rmse(analysis) < .4", True, 0.8),
    ],
)
def test_a_condition_has_the_value_of_its_left_side(text: str, holds: bool, value: float) -> None:
    outcome = parse(text, WORDS).outcome(SCORES)
    assert outcome.text == text
    assert outcome.holds is holds
    assert outcome.value == pytest.approx(value)


@pytest.mark.parametrize(
    "text",
    [
        "rmse(analysis.background) < 1",
        "rmse(analysis.background) > 0",
        "crps(model) <= crps(model)",
        "rmse(model) / crps(analysis) > 0",
        "rmse(model) <= 2 * crps(model)",
        "rmse(model, variable=ice) < 1e9 and crps(model) < 1",
    ],
)
def test_what_is_not_finite_never_holds(text: str) -> None:
    assert not parse(text, WORDS).outcome(SCORES).holds


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rmes(model) < 1", "unknown metric 'rmes'; did you mean 'rmse'? (metrics: crps, rmse)"),
        ("rmse(modle) < 1", "unknown subject 'modle'; did you mean 'model'?"),
        (
            "rmse(model, lead=2) < 1",
            "no score at lead 2, its leads are 1, 3; use one of them or add 2 to `leads`",
        ),
        ("rmse(analysis, lead=1) < 1", "it has one score and no leads; remove `lead`"),
        ("rmse(model, variable=sts) < 1", "unknown variable 'sts'; did you mean 'sst'?"),
        ("rmse(model, level=1) < 1", "'level' cannot stand here; use lead=N or variable=NAME, each once"),
        ("rmse(model, lead=1, lead=3) < 1", "'lead' cannot stand here"),
        ("rmse(model, lead=1.5) < 1", "expected a whole number, found '1.5'"),
        ("rmse(model", "expected ')', found the end"),
        ("rmse(model)", "expected one of <= < >= >"),
        ("rmse(model) == 1", "found '==' at column 13"),
        ("rmse(model) < 1 or 2", "expected `and` or the end, found 'or' at column 17"),
        ("rmse(model) < $", "'$' at column 15 means nothing here; remove it"),
        ("__import__('os')", "'_' at column 1 means nothing here"),
        ("", "expected a number or a score"),
        ("(" * 50 + "1", "brackets or signs inside one another"),
        ("1 <" + " 1 +" * 200, "at most 500 characters"),
    ],
)
def test_what_is_no_condition_is_refused_with_a_reason(text: str, words: str) -> None:
    with pytest.raises(ExpectationError) as caught:
        parse(text, WORDS)
    assert words in str(caught.value)


STUDY = Vocabulary(("iterations", "error"), {"skr": (), "iid": (20, 40)}, key="n")


def test_a_condition_on_a_study_names_sizes() -> None:
    scores = {"error": {"iid": {"n=20": 3.0, "n=40": 1.5}}, "iterations": {"skr": {"all": 9.0}}}
    assert parse("error(iid, n=40) <= 0.5 * error(iid, n=20)", STUDY).outcome(scores).holds
    assert not parse("iterations(skr) < 9", STUDY).outcome(scores).holds


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("error(iid, n=30) < 1", "no score at size 30, its sizes are 20, 40; use one of them"),
        ("iterations(skr, n=20) < 1", "it has one score and no sizes; remove `n`"),
        ("error(iid) < 1", "a score at each size, and its sizes are 20, 40; name one, n=20"),
        ("error(iid, lead=20) < 1", "'lead' cannot stand here; use n=N, each once"),
    ],
)  # fmt: skip
def test_what_a_study_does_not_have_is_refused(text: str, words: str) -> None:
    with pytest.raises(ExpectationError) as caught:
        parse(text, STUDY)
    assert words in str(caught.value)


@given(st.text(alphabet="rmse(model)and in[]<>=,.0123456789+-*/ $", max_size=60))
def test_any_text_is_a_condition_or_refused(text: str) -> None:
    try:
        outcome = parse(text, WORDS).outcome(SCORES)
    except ExpectationError:
        return
    assert isinstance(outcome.holds, bool)


def combined(parts: tuple[tuple[str, float], str, tuple[str, float]]) -> tuple[str, float]:
    (left, a), sign, (right, b) = parts
    value = {"+": a + b, "-": a - b, "*": a * b, "/": a / b if b else math.nan}[sign]
    return f"({left} {sign} {right})", value


NUMBERS = st.integers(1, 9).map(lambda number: (str(number), float(number)))


@given(
    st.recursive(
        NUMBERS, lambda inner: st.tuples(inner, st.sampled_from("+-*/"), inner).map(combined), max_leaves=12
    )
)
def test_arithmetic_is_that_of_numbers(pair: tuple[str, float]) -> None:
    text, value = pair
    found = parse(f"{text} < 1").outcome({}).value
    assert found == pytest.approx(value, nan_ok=True)


@pytest.mark.parametrize("place", ["lead=3", "variable=ice"])
def test_a_metric_of_the_model_has_one_score(place: str) -> None:
    words = Vocabulary(("period_error",), {"model": (1, 3)}, ("ice",), of_models=("period_error",))
    assert parse("period_error(model) < 1", words).outcome({"period_error": {"model": {"all": 0.5}}}).holds
    with pytest.raises(ExpectationError, match=r"has one score.*write period_error\(model\)"):
        parse(f"period_error(model, {place}) < 1", words)
