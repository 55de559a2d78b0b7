"""Writing so that a kill, a power cut or a full disk leaves either the old state or the new one."""

import errno
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from koopcast.errors import StoreNotWritable

TEMPORARY = ".tmp-"
"""Prefix of names that a writer has not committed yet; no reader looks at them."""

_FULL = {errno.ENOSPC, errno.EDQUOT}
_REFUSED = {errno.EROFS, errno.EACCES, errno.EPERM}


def temporary_sibling(path: Path, label: str = "") -> Path:
    """Return a fresh uncommitted name beside `path`, on the same file system."""
    return path.parent / f"{TEMPORARY}{label}{'-' if label else ''}{uuid4().hex[:12]}"


def write_whole(path: Path, content: str | bytes) -> None:
    """Replace the file `path` by `content` in one step that survives a power cut."""
    temporary = temporary_sibling(path)
    try:
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def sync(path: Path) -> None:
    """Wait until a file, or the list of names of a directory, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(root: Path, files: Iterable[Path]) -> None:
    """Wait until `files` and every directory from `root` down are on the disk."""
    directories = [Path(folder) for folder, _, _ in os.walk(root)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(sync, [*files, *directories]))


def remove(path: Path) -> None:
    """Delete a file or a directory; what others delete meanwhile does not disturb."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, onerror=_unless_gone)
    else:
        path.unlink(missing_ok=True)


def _unless_gone(_: object, __: str, error: tuple[type[BaseException], BaseException, object]) -> None:
    if not isinstance(error[1], FileNotFoundError):
        raise error[1]


def discard(path: Path) -> None:
    """Delete as far as the system allows: cleaning up after a failure must not hide that failure."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)


def num_bytes(path: Path) -> int:
    """Return the bytes of a file or of all files below a directory; what vanishes meanwhile counts 0."""
    if not path.is_dir():
        return _size(path)
    return sum(_size(Path(folder) / name) for folder, _, names in os.walk(path) for name in names)


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0


@contextmanager
def writing(root: Path) -> Iterator[None]:
    """Turn the system's refusal to write below `root` into a `StoreNotWritable` that says what to do.

    Raises:
        StoreNotWritable: The disk is full, or the store may only be read.
    """
    try:
        yield
    except Exception as error:
        code = _system_code(error)
        if code in _FULL and _concerns(error, root):
            raise StoreNotWritable(
                f"no space left for store '{root}' ({error})", "free space, for instance with `koopcast gc`"
            ) from error
        if code in _REFUSED and _concerns(error, root, unnamed=False):
            raise StoreNotWritable(
                f"store '{root}' cannot be written ({error})",
                "mount it writable and own it, or choose another with --store",
            ) from error
        raise


def _system_code(error: Exception) -> int | None:
    """Return the errno, which zarrs and safetensors give only in the text of their own errors."""
    if isinstance(error, OSError):
        return error.errno
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else None


def _concerns(error: Exception, root: Path, *, unnamed: bool = True) -> bool:
    names = [getattr(error, name, None) for name in ("filename", "filename2")]
    paths = [Path(name).absolute() for name in names if isinstance(name, str | os.PathLike)]
    if not paths:
        return unnamed or not isinstance(error, OSError)
    return any(path.is_relative_to(root) for path in paths)
