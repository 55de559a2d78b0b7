"""The one YAML reader: safe, bounded, every value with its place, every fault with its line."""

from pathlib import Path as FilePath

from koopcast.errors import OutsideRoots
from koopcast.sources.paths import demand_root
from schemas.compose import Composer
from schemas.faults import Fault, PipelineInvalid, shown
from schemas.positions import Mapping, Mark, Node, Scalar, Sequence

MAX_BYTES = 256 * 1024


def read(file: FilePath) -> Mapping:
    """Return the document in `file`.

    Raises:
        PipelineInvalid: The file cannot be read or is not one YAML map of names.
    """
    try:
        demand_root(file)
        content = _start_of(file) if file.is_file() else None
    except OutsideRoots as error:
        raise PipelineInvalid([Fault(str(file), 0, 0, "", str(error))]) from None
    except OSError as error:
        raise PipelineInvalid([Fault(str(file), 0, 0, "", f"cannot be read: {error.strerror}")]) from None
    if content is None:
        raise PipelineInvalid([Fault(str(file), 0, 0, "", "no such file; check the path")])
    return parse(content, str(file))


def parse(content: bytes, file: str) -> Mapping:
    """Return the document in `content`; `file` is the name that faults carry.

    Raises:
        PipelineInvalid: The content is not one YAML map of names.
    """
    text = _decoded(content, file)
    composer = Composer(file)
    node = composer.compose(text)
    faults = composer.faults
    if node is None and not faults:
        faults.append(Fault(file, 1, 1, "", "the file is empty; write `name:` and `steps:`"))
    elif node is not None and not isinstance(node, Mapping):
        kind = "a list" if isinstance(node, Sequence) else shown(node.value)
        faults.append(node.mark.fault((), f"expected a map with `name:` and `steps:`, was given {kind}"))
    if faults or not isinstance(node, Mapping):
        raise PipelineInvalid(faults)
    return node


def parse_value(text: str, file: str) -> Node:
    """Return one value written in YAML's flow style, as on the command line; an empty text is null.

    Raises:
        PipelineInvalid: The text is not one YAML value.
    """
    composer = Composer(file)
    node = composer.compose(text)
    if composer.faults:
        raise PipelineInvalid(composer.faults)
    return node or Scalar(None, Mark(file, 1, 1))


def _start_of(file: FilePath) -> bytes:
    with file.open("rb") as stream:
        return stream.read(MAX_BYTES + 1)


def _decoded(content: bytes, file: str) -> str:
    if len(content) > MAX_BYTES:
        message = f"the file has more than {MAX_BYTES} bytes; a pipeline is a short text, check the path"
        raise PipelineInvalid([Fault(file, 1, 1, "", message)])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        message = f"byte 0x{content[error.start]:02x} is not UTF-8; save the file as UTF-8"
        raise PipelineInvalid([Fault(file, line, column, "", message)]) from None


def is_cycle(file: FilePath) -> bool:
    """Return whether a file holds a cycle: it has `cycle` where a pipeline has `steps`.

    Raises:
        PipelineInvalid: The file cannot be read.
    """
    entries = read(file).entries
    return "cycle" in entries and "steps" not in entries
