"""Nothing that a file, a table or an archive holds is run as code, loaded as objects, or given to a shell."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("flows", "tasks", "schemas", "koopcast")
FILES = sorted(
    path for folder in PACKAGES for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts
)
FORBIDDEN_MODULES = {
    "pickle",
    "cloudpickle",
    "dill",
    "joblib",
    "shelve",
    "marshal",
    "jsonpickle",
    "code",
    "codeop",
}
FORBIDDEN_CALLS = {
    "__import__", "compile", "eval", "exec", "os.popen", "os.system", "pandas.eval", "pandas.read_pickle",
    "runpy.run_module", "runpy.run_path", "tempfile.mktemp", "torch.jit.load", "torch.load",
    "xml.etree.ElementTree.parse", "yaml.full_load", "yaml.load", "yaml.load_all", "yaml.unsafe_load",
    "torch.hub.load", "zipfile.ZipFile", "tarfile.open", "shutil.unpack_archive",
}  # fmt: skip
FORBIDDEN_METHODS = {"eval", "to_pickle", "extractall", "read_pickle"}
"""Whatever they are called on: those of tables take expressions, the others write or read objects."""
IMPORTERS = {"importlib.import_module"}
DYNAMIC_IMPORTS = {"koopcast/cycles/reading.py", "koopcast/numerics/derivatives.py"}
"""Where a module is imported by name: one of a fixed few, none from a file."""


def full_names(tree: ast.Module) -> dict[str, str]:
    """Return local name -> what it stands for, of everything that a module imports."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})
    return found


def called(node: ast.expr, names: dict[str, str]) -> str:
    """Return the full name of what is called, as far as it is one."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ".".join(["?", *reversed(parts)])
    return ".".join([names.get(node.id, node.id), *reversed(parts)])


def offences(path: str, text: str) -> Iterator[str]:
    """Yield what a module does that it may not."""
    tree = ast.parse(text)
    names = full_names(tree)
    for target in names.values():
        if target.partition(".")[0] in FORBIDDEN_MODULES:
            yield f"imports {target}"
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = called(node.func, names)
        options = {item.arg: item.value for item in node.keywords}
        is_method = isinstance(node.func, ast.Attribute) and node.func.attr in FORBIDDEN_METHODS
        if name in FORBIDDEN_CALLS or (is_method and not is_training_mode(node)):
            yield f"calls {name}"
        if name in IMPORTERS and path not in DYNAMIC_IMPORTS:
            yield f"imports a module by name ({name})"
        if "shell" in options or name.endswith("create_subprocess_shell"):
            yield f"gives a shell something to do ({name})"
        if name in ("numpy.load", "numpy.lib.format.open_memmap") and not is_false(
            options.get("allow_pickle")
        ):
            yield f"{name} without allow_pickle=False"


def is_training_mode(node: ast.Call) -> bool:
    """Return whether it is `model.eval()` of torch, which takes no text."""
    is_eval = isinstance(node.func, ast.Attribute) and node.func.attr == "eval"
    return is_eval and not node.args and not node.keywords


def is_false(value: ast.expr | None) -> bool:
    return isinstance(value, ast.Constant) and value.value is False


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_runs_or_loads_what_it_is_given(package: str) -> None:
    own = [path for path in FILES if path.relative_to(ROOT).parts[0] == package]
    found = [
        f"{name}: {offence}"
        for path in own
        for name in [path.relative_to(ROOT).as_posix()]
        for offence in offences(name, path.read_text(encoding="utf-8"))
    ]
    assert len(own) > 3
    assert found == []


OFFENDERS = {
    "imports pickle": "import pickle",
    "imports pickle.loads": "from pickle import loads as text_of",
    "calls torch.load": "from torch import load\nload(x)",
    "calls yaml.load": "import yaml as y\ny.load(x, Loader=y.SafeLoader)",
    "calls eval": "eval(text)",
    "calls table.eval": "table.eval(text)",
    "calls pandas.read_pickle": "import pandas as pd\npd.read_pickle(p)",
    "calls tempfile.mktemp": "from tempfile import mktemp\nmktemp()",
    "calls os.system": "import os\nos.system(x)",
    "imports a module by name (importlib.import_module)": "import importlib\nimportlib.import_module(name)",
    "gives a shell something to do (subprocess.run)": "import subprocess\nsubprocess.run(x, shell=True)",
    "numpy.load without allow_pickle=False": "import numpy as np\nnp.load(x, allow_pickle=True)",
}


@pytest.mark.parametrize("offence", OFFENDERS)
def test_the_look_at_modules_sees(offence: str) -> None:
    assert list(offences("x.py", OFFENDERS[offence])) == [offence]


def test_no_flow_or_task_keeps_results_other_than_references() -> None:
    """Prefect pickles what it persists: every flow and task says that it persists nothing."""
    makers = re.compile(
        r"@(?:flow|task)\((?P<options>[^@]*?)\)\ndef|(?<![\w.])(?:flow|task)\((?P<call>[^)]*)\)", re.DOTALL
    )
    found = 0
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        if not re.search(r"^from prefect import .*\b(?:flow|task)\b", text, re.MULTILINE):
            continue
        for match in makers.finditer(text):
            found += 1
            assert "persist_result=False" in (match["options"] or match["call"]), (
                f"{path.name}: {match[0][:80]}"
            )
    assert found >= 2
