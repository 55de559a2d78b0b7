import copy
import inspect
import re

import pytest

import koopcast.errors as errors


def _tree() -> list[tuple[int, str]]:
    lines = inspect.getdoc(errors) or ""
    return [(len(m[1]) // 2, m[2]) for m in re.finditer(r"^( *)([A-Z]\w+)(?: {2,}.*)?$", lines, re.MULTILINE)]


def test_the_tree_in_the_docstring_is_the_tree_of_the_code() -> None:
    parents: dict[int, str] = {}
    drawn = {}
    for depth, name in _tree():
        parents[depth] = name
        drawn[name] = parents[depth - 1] if depth else "Exception"
    real = {name: cls.__bases__[0].__name__ for name, cls in inspect.getmembers(errors, inspect.isclass)}
    assert drawn == real


def test_an_error_crosses_a_process_boundary_whole() -> None:
    error = errors.UnknownUnit("variable 'sst': unit 'KK'", "write K")
    twin = copy.copy(error)  # by the same protocol that sends it to another process
    assert type(twin) is errors.UnknownUnit
    assert (twin.message, twin.remedy, str(twin)) == (error.message, error.remedy, str(error))


def test_no_text_of_an_error_acts_on_a_terminal_or_forges_a_line() -> None:
    evil = "a\x1b]0;title\x07\x9b31m\u202egpj.\udcff\nFAULT\u2028"
    written = "a\\x1b]0;title\\x07\\x9b31m\\u202egpj.\\udcff\\nFAULT\\u2028"
    assert errors.printable(evil) == written
    plain = "\u6d77\u9762 \u00fc \u03c7\u00b2\u00a0\U0001f30a 'a' \\x"
    assert errors.printable(plain) == plain
    # An error may have lines of its own.
    assert str(errors.DataError("one\ntwo\x1b[2J", "three")) == "one\ntwo\\x1b[2J; three"


def test_no_text_of_an_error_holds_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOOPCAST_WEBHOOK", "https://hooks.example.org/T0/xyzzy")
    error = errors.StoreError("cannot reach https://hooks.example.org/T0/xyzzy", "try")
    assert (str(error), error.message) == ("cannot reach REDACTED; try", "cannot reach REDACTED")
