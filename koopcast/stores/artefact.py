"""What a step leaves: an immutable directory, described by its manifest and named by a reference."""

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from koopcast.errors import InvalidInput, StoreDamaged, StoreMissing

MANIFEST = "manifest.json"
_NAME = re.compile(r"(?P<kind>[a-z][a-z0-9_]*)-(?P<key>[0-9a-f]{32,})")
_RERUN = "run the pipeline again to make it anew; `koopcast doctor --store` checks the whole store"


def artefact_name(kind: str, key: str) -> str:
    """Return the directory name of an artefact.

    Raises:
        InvalidInput: `kind` is not a lower-case word or `key` not 32 or more hexadecimal digits.
    """
    name = f"{kind}-{key}"
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"'{name}' is no name of an artefact", "give a lower-case kind and a key of 32 or more hex digits"
        )
    return name


def parse_name(name: str) -> tuple[str, str] | None:
    """Return kind and key of a directory name, None where it is not that of an artefact."""
    found = _NAME.fullmatch(name)
    return (found["kind"], found["key"]) if found else None


class ArtefactRef(BaseModel):
    """A name of an artefact that is small enough to pass between processes, with the digest it must have."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    key: str
    digest: str

    @property
    def name(self) -> str:
        """`<kind>-<key>`, the directory of the artefact."""
        return artefact_name(self.kind, self.key)

    def __str__(self) -> str:
        return self.name


class FileEntry(BaseModel):
    """Size and SHA-256 of one file of an artefact."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int
    sha256: str


class Manifest(BaseModel):
    """How an artefact came to be, and what its files must hold."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    format: Literal[1] = 1
    kind: str
    key: str
    spec: dict[str, JsonValue]
    """The validated step, defaults included."""
    seed: int | None
    versions: dict[str, str]
    """Code version of each method that took part."""
    inputs: dict[str, str]
    """Keys of the artefacts that were read, by the name under which the step knows them."""
    external: dict[str, str]
    """Digests of files outside the store, by path."""
    facts: dict[str, JsonValue]
    """What a listing shows: dimensions, figures of a model card."""
    files: dict[str, FileEntry]
    """By path below the artefact, `/` between folders."""
    timings: dict[str, float]
    """Seconds of each phase."""
    created: datetime
    digest: str = ""
    """SHA-256 of all of the above except `timings` and `created`: equal results have equal digests."""

    def sealed(self) -> "Manifest":
        """Return the manifest as it will be read again (JSON has no NaN), with its digest."""
        plain = Manifest.model_validate_json(self.model_dump_json())
        return plain.model_copy(update={"digest": plain.computed_digest()})

    def computed_digest(self) -> str:
        """Return the digest that the contents call for."""
        content = self.model_dump(mode="json", exclude={"timings", "created", "digest"})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Artefact:
    """A published artefact, opened in a store. Its files are never written again."""

    ref: ArtefactRef
    path: Path
    manifest: Manifest

    def file(self, name: str) -> Path:
        """Return the path of a file or folder of the artefact.

        Raises:
            StoreMissing: The artefact holds nothing of that name.
        """
        path = self.path / name
        if not path.exists():
            held = ", ".join(sorted({file.partition("/")[0] for file in self.manifest.files})) or "nothing"
            raise StoreMissing(f"artefact {self.ref} holds no '{name}' (it holds: {held})", _RERUN)
        return path


def read_artefact(path: Path) -> Artefact | None:
    """Return the artefact in directory `path`, None where none is published there.

    Raises:
        StoreDamaged: Its manifest cannot be read or does not match its own digest.
    """
    try:
        text = (path / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return parse_manifest(text, path)


def parse_manifest(text: bytes, path: Path) -> Artefact:
    """Return the artefact that a manifest describes, whose files belong in directory `path`.

    Raises:
        StoreDamaged: It cannot be read or does not match its own digest.
    """
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        raise StoreDamaged(
            f"artefact {path.name}: {MANIFEST} is not a manifest ({_first(error)})", _RERUN
        ) from error
    actual = manifest.computed_digest()
    if manifest.digest != actual or path.name != f"{manifest.kind}-{manifest.key}":
        raise StoreDamaged(
            f"artefact {path.name}: {MANIFEST} was altered "
            f"(digest {manifest.digest[:16]} expected, is {actual[:16]})",
            _RERUN,
        )
    return Artefact(ArtefactRef(kind=manifest.kind, key=manifest.key, digest=manifest.digest), path, manifest)


def _first(error: ValidationError) -> str:
    return error.errors(include_url=False)[0]["msg"][:120]
