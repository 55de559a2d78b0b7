"""The version of code: what it does counts, how it is written does not."""

import ast
import sys
from pathlib import Path

import pytest

from schemas import version
from schemas.version import canonical, versions

CODE = "def f(x: int) -> int:\n    y = x + 1\n    return y\n"


def digest(text: str) -> str:
    return canonical(ast.parse(text))


@pytest.mark.parametrize(
    "other",
    [
        '"""A module."""\n\ndef f(x: int) -> int:\n'
        '    """Do."""\n    # a comment\n    y = (x +\n         1)\n\n    return y\n',
        "def f(x: int) -> int:\n    y = x + 0x1\n    return y\n",
    ],
)
def test_comments_docstrings_and_layout_change_nothing(other: str) -> None:
    assert digest(other) == digest(CODE)


@pytest.mark.parametrize(
    "other",
    [
        CODE.replace("+", "-"),
        CODE.replace("1", "2"),
        CODE.replace("1", "True"),
        CODE.replace("y", "z"),
        CODE + "g = f\n",
    ],
)
def test_code_changes_the_digest(other: str) -> None:
    assert digest(other) != digest(CODE)


def test_the_text_under_a_field_is_documentation_too() -> None:
    assert digest('class A:\n    x: int = 1\n    """Old."""\n') == digest("class A:\n    x: int = 1\n")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package like ours: a family with two methods, its union, and shared code below."""
    files = {
        "__init__": "",
        "family/__init__": "from science.family.one import One\n"
        "from science.family.two import Two\nAny = One | Two\n",
        "family/base": "class Base: ...\n",
        "family/one": "from science.family.base import Base\n"
        "from science.shared import f\nclass One(Base): ...\n",
        "family/two": "from science.family.base import Base\nclass Two(Base): ...\n",
        "shared": "def f(): return 1\n",
        "errors": "class Bad(Exception): ...\n",
        "verb": "from science.family import Any, One\nfrom science.errors import Bad\nimport os\n",
    }
    for name, text in files.items():
        path = tmp_path / "science" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(version, "PACKAGE", "science")
    monkeypatch.setattr(version, "WITHOUT_EFFECT", frozenset({"science.errors"}))
    version.read_source.cache_clear()
    version._locate.cache_clear()
    yield tmp_path / "science"
    version.read_source.cache_clear()
    version._locate.cache_clear()
    for name in [name for name in sys.modules if name.split(".")[0] == "science"]:
        del sys.modules[name]


def test_a_method_depends_on_what_it_imports_and_not_on_its_siblings(package: Path) -> None:
    assert set(versions(["science.family.one"])) == {
        "science.family.one",
        "science.family.base",
        "science.shared",
    }


def test_a_name_taken_from_a_family_is_followed_to_its_own_file(package: Path) -> None:
    assert set(versions(["science.verb"])) == {
        "science.verb",
        "science.family.one",
        "science.family.base",
        "science.shared",
    }


def test_a_change_far_below_changes_the_version(package: Path) -> None:
    before = versions(["science.family.one"])
    (package / "shared.py").write_text("def f(): return 2\n")
    version.read_source.cache_clear()
    after = versions(["science.family.one"])
    assert {name for name in before if before[name] != after[name]} == {"science.shared"}


def test_the_modules_of_the_methods_are_found() -> None:
    found = versions(["koopcast.koopman.edmd"])
    assert {"koopcast.koopman.edmd", "koopcast.models", "koopcast.fields", "koopcast.spec"} <= set(found)
    assert not any(
        name.startswith(("koopcast.errors", "koopcast.assimilation", "koopcast.operators")) for name in found
    )
