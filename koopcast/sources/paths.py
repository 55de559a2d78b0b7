"""From what people write as a path to the files it means."""

import glob
import os
from importlib.util import find_spec
from pathlib import Path

from koopcast.errors import MissingFile, OutsideRoots

ROOTS = "KOOPCAST_ROOTS"
"""Variable of the environment: folders, with `:` between, below which everything lies that a file names."""
PACKAGE_SCHEME = "pkg://"
DATA_FOLDERS = ("", "sample_data", "_data", "data")
"""Where packages keep their data, below themselves. They are not imported."""
EXTRAS = {"iris_sample_data": "pip install 'koopcast[examples]'"}
"""Packages that an extra of Koopcast brings."""
LICENCES = {"iris_sample_data": "British Crown copyright, Met Office, Open Government Licence"}
"""Terms of the data in packages whose files do not state them."""


def resolve(path: str | list[str]) -> list[Path]:
    """Return the files of a path, several, a pattern, or `pkg://module/file`; sorted within a pattern.

    Raises:
        MissingFile: Nothing is there.
    """
    found = [file for text in ([path] if isinstance(path, str) else path) for file in _resolve_one(text)]
    return list(dict.fromkeys(found))


def anchored(path: str | list[str], folder: Path | None) -> str | list[str]:
    """Return paths with the relative ones starting from `folder`; as they are without one.

    Raises:
        ValueError: A path leads out of the roots, or to the home of nobody; for validators.
    """
    if isinstance(path, list):
        return [str(anchored(text, folder)) for text in path]
    if "://" in path:
        return path
    try:
        fixed = Path(_fixed_part(Path(path).expanduser()))
        demand_root(fixed if folder is None else folder / fixed)
    except (RuntimeError, OutsideRoots) as error:
        raise ValueError(str(error)) from None
    if folder is None or path.startswith("~"):
        return path
    # Of a pattern the folder is none, whatever its name.
    return str(Path(glob.escape(str(folder)), path) if glob.has_magic(path) else folder / path)


def matches(pattern: str) -> list[Path]:
    """Return the files that a pattern matches, sorted; a relative one starts from here."""
    whole = str(Path(pattern).expanduser())
    found = [whole] if os.path.lexists(whole) else glob.glob(whole, recursive=True)
    return sorted(Path(match).absolute() for match in found)


def demand_inside(path: Path) -> Path:
    """Return a path that may be read: it and the links below it lead into the roots, if there are any.

    What is exchanged between this look and the reading is not seen.

    Raises:
        OutsideRoots: It leads somewhere else.
    """
    demand_root(path)
    if os.environ.get(ROOTS):
        for folder, folders, names in os.walk(path):
            for item in (Path(folder) / name for name in (*folders, *names)):
                if item.is_symlink():
                    demand_root(item)
    return path


def demand_root(path: Path) -> None:
    """Refuse a path that lies in none of the roots, if there are any; links and `..` are followed first.

    Raises:
        OutsideRoots: It does.
    """
    texts = [text for text in os.environ.get(ROOTS, "").split(os.pathsep) if text]
    roots = [Path(os.path.realpath(Path(text).expanduser())) for text in texts]
    real = Path(os.path.realpath(path))
    if roots and not any(real.is_relative_to(root) for root in roots):
        leads = "lies" if real == path.absolute() else f"leads to '{real}', which lies"
        raise OutsideRoots(
            f"'{path}' {leads} in none of the roots ({', '.join(map(str, roots))})",
            f"move it there, or add its folder to {ROOTS}",
        )


def _fixed_part(path: Path) -> str:
    """Return the folder from which on a pattern matches; of a plain path, the path."""
    parts = path.parts
    magic = next((place for place, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return os.path.join(*parts[:magic]) if magic else ""


def licence_of(path: str | list[str]) -> str:
    """Return the terms of files that come in a package, as far as they are known."""
    texts = [path] if isinstance(path, str) else path
    known = {LICENCES.get(_module(text), "") for text in texts if text.startswith(PACKAGE_SCHEME)}
    return "; ".join(sorted(known - {""}))


def _resolve_one(text: str) -> list[Path]:
    if text.startswith(PACKAGE_SCHEME):
        return [_in_package(text)]
    if "://" in text:
        raise MissingFile(f"'{text}' is not on this machine", "copy it here and name the copy")
    expanded = str(Path(text).expanduser())
    if Path(expanded).exists():
        return [demand_inside(Path(expanded))]
    if glob.has_magic(expanded):
        if found := matches(expanded):
            return [demand_inside(path) for path in found]
        raise MissingFile(f"no file matches '{text}' (from {Path.cwd()})", "check the pattern")
    raise MissingFile(f"'{text}' does not exist (from {Path.cwd()})", _nearby(Path(expanded)))


def _in_package(text: str) -> Path:
    module, _, name = text.removeprefix(PACKAGE_SCHEME).partition("/")
    if not module.isidentifier() or not name:
        raise MissingFile(f"'{text}' names no file in a package", "write pkg://module/file")
    try:
        found = find_spec(module)
    except ValueError:
        found = None
    folders = [Path(folder) for folder in (found.submodule_search_locations or []) if folder] if found else []
    if not folders:
        remedy = EXTRAS.get(module, f"pip install {module.replace('_', '-')}")
        raise MissingFile(f"'{text}' needs the package '{module}', which is not installed", remedy)
    below = [folder / part for folder in folders for part in DATA_FOLDERS]
    for folder in below:
        path = folder / name
        if path.exists() and Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
            return path
    shown = next((folder for folder in reversed(below) if folder.is_dir()), folders[0])
    raise MissingFile(f"package '{module}' holds no file '{name}'", _nearby(shown / Path(name).name))


def _module(text: str) -> str:
    return text.removeprefix(PACKAGE_SCHEME).partition("/")[0]


def _nearby(path: Path) -> str:
    if not path.parent.is_dir():
        return f"there is no directory '{path.parent}'"
    names = sorted(entry.name for entry in path.parent.iterdir() if entry.suffix == path.suffix)[:6]
    return f"its directory holds {', '.join(names)}" if names else "check the name"
