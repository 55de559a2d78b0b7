"""The repository keeps its own promises: layers, pipelines, catalog, tests, words, packages."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PACKAGES = ("flows", "tasks", "schemas", "koopcast")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXAMPLES = {
    "tests/repo/test_repository.py",
    "tests/repo/test_security.py",
    "tests/koopcast/cycles/test_records.py",
}
"""Tests that hold what is forbidden, as the input that must be refused."""
FORBIDDEN = {
    "a path of one machine": r"(?<![\w./-])/(?:work|root|home/\w+|Users)/",
    "a temporary directory that is fixed": r"[\"']/tmp/",
    "pickle": r"\bimport pickle\b|\bpickle\.\w+\(|\bcloudpickle\b",
    "torch.load": r"(?<![\w.])torch\.load\b",
    "an evaluated string": r"(?<![\w.])(?:eval|exec)\(",
    "an unsafe YAML loader": r"\byaml\.(?:load|unsafe_load|full_load)\(",
    "unfinished work": r"\b(?:TODO|FIXME|XXX)\b|\bNotImplementedError\b",
    "a skipped check": r"pytest\.mark\.(?:skip|xfail)\b",
}


def texts(*folders: str, suffixes: tuple[str, ...] = (".py",)) -> list[Path]:
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*"))]
    return [path for path in found if path.suffix in suffixes and "__pycache__" not in path.parts]


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_imports_point_one_way() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run(
        [linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("folder", PACKAGES)
def test_every_folder_of_a_package_with_modules_is_a_package(folder: str) -> None:
    """Import-linter and mypy do not look into folders without `__init__.py`."""
    folders = {path.parent for path in texts(folder)}
    bare = [relative(path) for path in folders if not (path / "__init__.py").exists()]
    assert bare == []


def test_the_catalog_is_fresh() -> None:
    from schemas import catalog

    is_fresh = (ROOT / "schemas" / "CATALOG.md").read_text(encoding="utf-8") == catalog.to_markdown()
    assert is_fresh, "run `python -m schemas.catalog`"


@pytest.mark.parametrize("path", texts("pipelines", suffixes=(".yaml",)), ids=relative)
def test_every_pipeline_is_valid(path: Path) -> None:
    from schemas.cycle import Cycle
    from schemas.load import is_cycle, read
    from schemas.pipeline import load
    from schemas.positions import plain

    for package in re.findall(r"pkg://(\w+)/", path.read_text()):
        pytest.importorskip(package, reason=f"{relative(path)} reads files of this package")
    if is_cycle(path):
        assert list(Cycle.model_validate(plain(read(path))).problems()) == []
        return
    assert load(path).pipeline.steps


@pytest.mark.parametrize("path", texts("tests"), ids=relative)
def test_whatever_looks_like_a_test_is_collected(path: Path) -> None:
    """A test in a file, a class or a function of the wrong name would never run, and nobody would notice."""
    is_test_file = path.name.startswith("test_")
    names: list[str] = []
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.append(node.name)
            nested = [inner.name for inner in ast.walk(node) if isinstance(inner, ast.FunctionDef)]
            assert not [name for name in nested[1:] if name.startswith("test_")], "a test inside a function"
        if isinstance(node, ast.ClassDef):
            methods = [inner.name for inner in node.body if isinstance(inner, ast.FunctionDef)]
            is_collected = is_test_file and node.name.startswith("Test")
            assert is_collected or not [name for name in methods if name.startswith("test")], node.name
    tests = [name for name in names if name.startswith("test")]
    assert len(tests) == len(set(tests)), "two tests of one name: the first never runs"
    assert all(name.startswith("test_") for name in tests)
    assert bool(tests) == is_test_file, "tests belong into test_*.py, helpers elsewhere"


def test_no_folder_of_tests_hides_a_package() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []


@pytest.mark.parametrize("rule", FORBIDDEN)
def test_the_sources_hold_no(rule: str) -> None:
    folders = (*PACKAGES, "pipelines", "deploy", "benchmarks", "tests")
    looked = texts(*folders, suffixes=(".py", ".yaml", ".md", ".html"))
    pattern = re.compile(FORBIDDEN[rule])
    hits = [
        f"{relative(path)}:{number}: {line.strip()[:80]}"
        for path in looked
        if relative(path) not in EXAMPLES
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if pattern.search(line)
    ]
    assert hits == []


@pytest.mark.parametrize("path", texts(*PACKAGES), ids=relative)
def test_files_and_functions_stay_short(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 500
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
            assert node.end_lineno - node.lineno < 60, node.name


def test_the_wheel_holds_four_typed_packages() -> None:
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert tuple(wheel["packages"]) == PACKAGES
    assert "exclude" not in wheel
    for package in PACKAGES:
        assert (ROOT / package / "py.typed").exists()


def test_data_files_of_the_packages_are_not_ignored_by_git() -> None:
    """The wheel is made of what git does not ignore: templates, catalogs and the like must be in it."""
    data = texts(
        *PACKAGES, suffixes=(".md", ".html", ".css", ".js", ".json", ".yaml", ".typed", ".txt", ".j2")
    )
    command = ["git", "check-ignore", "--no-index", *map(str, data)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert result.stdout == ""


def test_the_constraints_hold_the_limits_of_the_project_and_one_version_each() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert len(pins) == len([line for line in lines if "==" in line])
    assert tuple(map(int, pins["fastapi"].split("."))) < (0, 151)
    assert tuple(map(int, pins["SQLAlchemy"].split("."))) < (2, 1)
    assert tuple(map(int, pins["prefect"].split("."))) < (3, 9)
    known = {re.sub(r"[-_.]+", "-", name).lower() for name in pins}
    wanted = [
        *PROJECT["project"]["dependencies"],
        *(entry for extra in PROJECT["project"]["optional-dependencies"].values() for entry in extra),
    ]
    names = {re.sub(r"[-_.]+", "-", re.split(r"[\[<>=! ;]", entry)[0]).lower() for entry in wanted}
    assert names <= known


def test_every_yaml_file_of_the_deployment_can_be_read() -> None:
    for path in texts("deploy", suffixes=(".yaml",)):
        assert all(isinstance(part, dict) for part in yaml.safe_load_all(path.read_text())), relative(path)


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "deploy/README.md"])
def test_commands_and_files_that_a_text_names_exist(name: str) -> None:
    text = (ROOT / name).read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^ +)make ([a-z-]+)", text, re.MULTILINE)) <= targets
    sources = (ROOT / "flows" / "cli.py").read_text()
    commands = set(re.findall(r"@app\.command\(.*\)\ndef ([a-z_]+)\(", sources))
    assert set(re.findall(r"^\s*(?:\$ )?koopcast ([a-z]+)", text, re.MULTILINE)) <= commands
    for path in re.findall(
        r"`((?:koopcast|schemas|flows|tasks|pipelines|deploy|tests|benchmarks)/[\w/.-]+)`", text
    ):
        assert (ROOT / path).exists(), path


def test_versions_in_the_readme_are_those_of_the_lock() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = {name.lower(): version for name, _, version in (line.partition("==") for line in lines)}
    pins["koopcast"] = PROJECT["project"]["version"]
    pins["python"] = PROJECT["project"]["requires-python"].removeprefix(">=")
    for name, version in re.findall(
        r"\b([A-Za-z][\w-]*) (\d+\.\d+(?:\.\d+)*)\b", (ROOT / "README.md").read_text()
    ):
        if name.lower() in pins:
            assert pins[name.lower()].startswith(version), f"{name} {version}"
