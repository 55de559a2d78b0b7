"""The version of the code behind a step: changes with what is computed, not with comments, docstrings or
layout.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PACKAGE, PACKAGE_FILE = "koopcast", "__init__.py"
WITHOUT_EFFECT = frozenset({"koopcast.errors", "koopcast.progress"})
"""Modules that cannot change a result."""


@dataclass(frozen=True)
class Source:
    """A module as far as it can change results."""

    digest: str
    imports: tuple[tuple[str, str | None], ...]
    """Module and name for `from module import name`, module and None for `import module`."""
    origins: dict[str, str]
    """Name -> module that it is imported from, for names that the module passes on."""
    definitions: frozenset[str]
    """Functions and classes defined here."""
    is_package: bool


def versions(modules: Iterable[str]) -> dict[str, str]:
    """Return the digest of every module that `modules` need, themselves included, by name."""
    found: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        source = None if name in found or name in WITHOUT_EFFECT else read_source(name)
        if source is not None:
            found[name] = source.digest
            waiting.extend(target for module, item in source.imports for target in _targets(module, item))
    return dict(sorted(found.items()))


@cache
def read_source(module: str) -> Source | None:
    """Return what matters of a module; None where it is no Python file of ours or of a plug-in."""
    path = _locate(module)
    if path is None:
        return None
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imports = tuple(_imports(tree))
    return Source(
        digest=hashlib.sha256(canonical(tree).encode()).hexdigest(),
        imports=imports,
        origins={name: target for target, name in imports if name is not None},
        definitions=frozenset(
            node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))
        ),
        is_package=path.name == PACKAGE_FILE,
    )


def canonical(node: Any) -> str:
    """Return a syntax tree as text: no positions, no texts that stand alone, nothing empty, for every
    Python alike.
    """
    if isinstance(node, ast.AST):
        fields = ((name, _meaning(value)) for name, value in ast.iter_fields(node))
        filled = (f"{name}={canonical(value)}" for name, value in fields if value not in (None, []))
        return f"{type(node).__name__}({','.join(filled)})"
    if isinstance(node, list):
        return f"[{','.join(canonical(item) for item in node)}]"
    return repr(node)


def _meaning(value: Any) -> Any:
    return [item for item in value if not _is_docstring(item)] if isinstance(value, list) else value


def _is_docstring(node: Any) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _imports(tree: ast.Module) -> Iterator[tuple[str, str | None]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == PACKAGE:
            for alias in node.names:
                yield node.module, alias.name
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == PACKAGE:
                    yield alias.name, None


def _targets(module: str, name: str | None) -> Iterator[str]:
    """Yield the modules that an import depends on.

    A family's `__init__` only gathers its methods: what is imported from it is followed to the method's own
    file, so
    that a new method leaves the results of the others alone.
    """
    source = read_source(module)
    if source is None:
        return
    if not source.is_package or name is None:
        yield module
    elif _locate(f"{module}.{name}") is not None:
        yield f"{module}.{name}"
    elif name in source.definitions:
        yield module
    elif name in source.origins:
        yield from _targets(source.origins[name], name)


@cache
def _locate(module: str) -> Path | None:
    """Return the file of a module without importing the packages above it."""
    top, *below = module.split(".")
    spec = find_spec(top)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    path = Path(spec.origin)
    for name in below:
        if path.name != PACKAGE_FILE:
            return None
        candidates = (path.parent / name / PACKAGE_FILE, path.parent / f"{name}.py")
        found = next((file for file in candidates if file.is_file()), None)
        if found is None:
            return None
        path = found
    return path
