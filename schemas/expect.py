"""Conditions on scores: a small closed grammar, `rmse(analysis) <= 0.75 * rmse(climatology)`; nothing is
evaluated by Python.

condition  = comparison {"and" comparison}
comparison = sum ("<" | "<=" | ">" | ">=") sum | sum "in" "[" sum "," sum "]"
sum        = product {("+" | "-") product}
product    = factor {("*" | "/") factor}
factor     = "-" factor | "(" sum ")" | number | score
score      = metric "(" subject {"," (("lead" | "n") "=" whole | "variable" "=" name)} ")"
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from schemas.faults import hint

LONGEST = 500
DEEPEST = 20
TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)|(?P<name>[A-Za-z]\w*(?:\.[A-Za-z]\w*)*)"
    r"|(?P<mark><=|>=|==|!=|[-+*/()\[\],<>=]))"
)
ORDERS = ("<=", "<", ">=", ">")
Key: TypeAlias = Literal["lead", "n"]
NOUNS: dict[Key, tuple[str, str]] = {"lead": ("lead", "leads"), "n": ("size", "sizes")}
"""What a key counts, singular and plural."""
Scores: TypeAlias = Mapping[str, Mapping[str, Mapping[str, float]]]
"""metric -> subject -> lead `3`, size `n=40` or `all` -> value; `metric[variable]` for several variables."""


def column(key: Key, place: int | None) -> str:
    """Return under which name a table of scores holds what belongs to a lead or a size."""
    if place is None:
        return "all"
    return str(place) if key == "lead" else f"{key}={place}"


class ExpectationError(ValueError):
    """A condition that is not of the grammar, or that names what is not scored."""


@dataclass(frozen=True)
class Vocabulary:
    """The words that a condition may use."""

    metrics: Sequence[str]
    subjects: Mapping[str, Sequence[int]]
    """Name -> leads, or sizes, at which it is scored; empty where it has one score alone."""
    variables: Sequence[str] = ()
    key: Key = "lead"
    """How a condition names one of them."""
    of_models: Sequence[str] = ()
    """Metrics that have one score a subject, at no lead and of no variable."""
    is_whole: bool = False
    """Whether a subject with sizes has a score of all of them too."""


@dataclass(frozen=True)
class Outcome:
    """What became of a condition: `value` is that of its left side."""

    text: str
    holds: bool
    value: float


@dataclass(frozen=True)
class Score:
    """One number of the table of scores."""

    metric: str
    subject: str
    place: int | None = None
    """A lead or a size."""
    key: Key = "lead"
    variable: str | None = None

    def value(self, scores: Scores) -> float:
        """Return the number, NaN where the table does not hold it."""
        name = f"{self.metric}[{self.variable}]" if self.variable is not None else self.metric
        table = scores.get(name, scores.get(self.metric, {}))
        return table.get(self.subject, {}).get(column(self.key, self.place), math.nan)


@dataclass(frozen=True)
class Number:
    """A number as written."""

    written: float

    def value(self, scores: Scores) -> float:
        """Return it."""
        return self.written


@dataclass(frozen=True)
class Operation:
    """Two terms and `+`, `-`, `*` or `/` between them."""

    sign: str
    left: "Term"
    right: "Term"

    def value(self, scores: Scores) -> float:
        """Return the result; NaN for a division by zero."""
        left, right = self.left.value(scores), self.right.value(scores)
        match self.sign:
            case "+":
                return left + right
            case "-":
                return left - right
            case "*":
                return left * right
            case _:
                return left / right if right else math.nan


Term: TypeAlias = Score | Number | Operation


@dataclass(frozen=True)
class Comparison:
    """`left <= right` and its like; a value that is not finite never fulfils it."""

    left: Term
    order: str
    right: Term

    def holds(self, scores: Scores) -> bool:
        """Return whether it is so."""
        left, right = self.left.value(scores), self.right.value(scores)
        if not (math.isfinite(left) and math.isfinite(right)):
            return False
        return {"<=": left <= right, "<": left < right, ">=": left >= right, ">": left > right}[self.order]


@dataclass(frozen=True)
class Expectation:
    """A condition, understood."""

    text: str
    comparisons: tuple[Comparison, ...]

    def outcome(self, scores: Scores) -> Outcome:
        """Return whether the condition holds on a table of scores; NaN and infinity never do."""
        holds = all(comparison.holds(scores) for comparison in self.comparisons)
        return Outcome(self.text, holds, self.comparisons[0].left.value(scores))


def parse(text: str, vocabulary: Vocabulary | None = None) -> Expectation:
    """Return the condition that `text` writes; with a vocabulary its words are checked too.

    Raises:
        ExpectationError: It is not of the grammar, or names what is not scored.
    """
    if len(text) > LONGEST:
        raise ExpectationError(f"a condition has at most {LONGEST} characters; split it into several")
    return Expectation(text, _Parser(text, vocabulary).condition())


@dataclass
class _Parser:
    text: str
    vocabulary: Vocabulary | None
    place: int = 0
    depth: int = 0
    tokens: list[tuple[str, str, int]] = field(init=False)

    def __post_init__(self) -> None:
        self.tokens, position = [], 0
        while position < len(self.text.rstrip()):
            match = TOKEN.match(self.text, position)
            if match is None:
                column = position + len(self.text[position:]) - len(self.text[position:].lstrip())
                raise ExpectationError(
                    f"{self.text[column]!r} at column {column + 1} means nothing here; remove it"
                )
            self.tokens.append(
                (str(match.lastgroup), match[str(match.lastgroup)], match.start(str(match.lastgroup)))
            )
            position = match.end()
        self.tokens.append(("end", "the end", len(self.text)))

    def condition(self) -> tuple[Comparison, ...]:
        comparisons = self._comparison()
        while self._takes("and"):
            comparisons += self._comparison()
        if self.tokens[self.place][0] != "end":
            self._refuse("`and` or the end")
        return comparisons

    def _comparison(self) -> tuple[Comparison, ...]:
        left = self._sum()
        if self._takes("in"):
            self._expect("[")
            low = self._sum()
            self._expect(",")
            high = self._sum()
            self._expect("]")
            return Comparison(left, ">=", low), Comparison(left, "<=", high)
        for order in ORDERS:
            if self._takes(order):
                return (Comparison(left, order, self._sum()),)
        self._refuse("one of <= < >= > or `in [low, high]`")
        return ()

    def _sum(self) -> Term:
        result = self._product()
        while (sign := self.tokens[self.place][1]) in ("+", "-"):
            self.place += 1
            result = Operation(sign, result, self._product())
        return result

    def _product(self) -> Term:
        result = self._factor()
        while (sign := self.tokens[self.place][1]) in ("*", "/"):
            self.place += 1
            result = Operation(sign, result, self._factor())
        return result

    def _factor(self) -> Term:
        self.depth += 1
        if self.depth > DEEPEST:
            raise ExpectationError(
                f"more than {DEEPEST} brackets or signs inside one another; write it simpler"
            )
        try:
            if self._takes("-"):
                return Operation("*", Number(-1.0), self._factor())
            if self._takes("("):
                inner = self._sum()
                self._expect(")")
                return inner
            kind, word, _ = self.tokens[self.place]
            if kind == "number":
                self.place += 1
                return Number(float(word))
            return self._score()
        finally:
            self.depth -= 1

    def _score(self) -> Score:
        metric = self._name("a number or a score such as rmse(analysis)")
        if self.vocabulary and metric not in self.vocabulary.metrics:
            raise ExpectationError(
                f"unknown metric '{metric}'{hint(metric, self.vocabulary.metrics, 'metrics')}"
            )
        self._expect("(")
        subject = self._name("the name of a subject")
        if self.vocabulary and subject not in self.vocabulary.subjects:
            raise ExpectationError(
                f"unknown subject '{subject}'{hint(subject, self.vocabulary.subjects, 'scored')}"
            )
        options: dict[str, str] = {}
        while self._takes(","):
            name = self._name("lead=N or variable=NAME")
            if name not in self._options() or name in options:
                allowed = " or ".join(f"{key}={value}" for key, value in self._options().items())
                raise ExpectationError(f"'{name}' cannot stand here; use {allowed}, each once")
            self._expect("=")
            options[name] = self._name("the name of a variable") if name == "variable" else self._whole()
        self._expect(")")
        key: Key = "n" if "n" in options else "lead"
        place = int(options[key]) if key in options else None
        return self._checked(Score(metric, subject, place, key, options.get("variable")))

    def _options(self) -> dict[str, str]:
        key = self.vocabulary.key if self.vocabulary else None
        return {
            "lead": {"lead": "N", "variable": "NAME"},
            "n": {"n": "N"},
            None: {"lead": "N", "n": "N", "variable": "NAME"},
        }[key]

    def _checked(self, score: Score) -> Score:
        if self.vocabulary is None:
            return score
        if score.metric in self.vocabulary.of_models and (score.place or score.variable):
            raise ExpectationError(
                f"'{score.metric}' is of the model and has one score, at no lead and of no variable; "
                f"write {score.metric}({score.subject})"
            )
        self._check_place(score, self.vocabulary)
        if score.variable is not None and score.variable not in self.vocabulary.variables:
            known = hint(score.variable, self.vocabulary.variables, "variables")
            raise ExpectationError(f"unknown variable '{score.variable}'{known}")
        return score

    def _check_place(self, score: Score, words: Vocabulary) -> None:
        places, (noun, nouns) = words.subjects[score.subject], NOUNS[words.key]
        known = (
            f"its {nouns} are {', '.join(map(str, places))}" if places else f"it has one score and no {nouns}"
        )
        if score.place is None and places and words.key == "n" and not words.is_whole:
            raise ExpectationError(
                f"'{score.subject}' has a score at each size, and {known}; name one, n={places[0]}"
            )
        if score.place is None or score.place in places:
            return
        remedy = f"remove `{words.key}`"
        if places:
            remedy = "use one of them" + (f" or add {score.place} to `leads`" if words.key == "lead" else "")
        raise ExpectationError(f"'{score.subject}' has no score at {noun} {score.place}, {known}; {remedy}")

    def _whole(self) -> str:
        kind, word, _ = self.tokens[self.place]
        if kind != "number" or not word.isdigit():
            self._refuse("a whole number")
        self.place += 1
        return word

    def _name(self, wanted: str) -> str:
        kind, word, _ = self.tokens[self.place]
        if kind != "name" or word in ("and", "in"):
            self._refuse(wanted)
        self.place += 1
        return word

    def _takes(self, word: str) -> bool:
        found = self.tokens[self.place][1] == word
        self.place += found
        return found

    def _expect(self, word: str) -> None:
        if not self._takes(word):
            self._refuse(f"'{word}'")

    def _refuse(self, wanted: str) -> None:
        kind, word, start = self.tokens[self.place]
        found = word if kind == "end" else f"'{word}' at column {start + 1}"
        raise ExpectationError(f"expected {wanted}, found {found}")
