"""From what people write as a path to the files it means."""

import glob
from importlib import import_module
from importlib.resources import files as package_files
from pathlib import Path

from koopcast.errors import MissingFile

PACKAGE_SCHEME = "pkg://"
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
    """Return paths with the relative ones starting from `folder`; as they are without one."""
    if isinstance(path, list):
        return [str(anchored(text, folder)) for text in path]
    if folder is None or "://" in path or path.startswith("~"):
        return path
    return str(folder / path)


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
        return [Path(expanded)]
    if glob.has_magic(expanded):
        matches = sorted(Path(match) for match in glob.glob(expanded, recursive=True))
        if matches:
            return matches
        raise MissingFile(f"no file matches '{text}' (from {Path.cwd()})", "check the pattern")
    raise MissingFile(f"'{text}' does not exist (from {Path.cwd()})", _nearby(Path(expanded)))


def _in_package(text: str) -> Path:
    module, _, name = text.removeprefix(PACKAGE_SCHEME).partition("/")
    if not module.isidentifier() or not name:
        raise MissingFile(f"'{text}' names no file in a package", "write pkg://module/file")
    try:
        package = import_module(module)
    except ModuleNotFoundError as error:
        remedy = EXTRAS.get(module, f"pip install {module.replace('_', '-')}")
        raise MissingFile(f"'{text}' needs the package '{module}', which is not installed", remedy) from error
    # Packages of sample data keep it below the module and say where in `path`.
    roots = [Path(str(package_files(module))), Path(str(getattr(package, "path", "")) or ".")]
    found = next((root / name for root in roots if (root / name).exists()), None)
    if found is None:
        raise MissingFile(f"package '{module}' holds no file '{name}'", _nearby(roots[-1] / name))
    return found


def _module(text: str) -> str:
    return text.removeprefix(PACKAGE_SCHEME).partition("/")[0]


def _nearby(path: Path) -> str:
    if not path.parent.is_dir():
        return f"there is no directory '{path.parent}'"
    names = sorted(entry.name for entry in path.parent.iterdir() if entry.suffix == path.suffix)[:6]
    return f"its directory holds {', '.join(names)}" if names else "check the name"
