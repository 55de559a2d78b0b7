"""What the small files of an archive must hold: a disk or a person may have altered them."""

from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from koopcast.errors import StoreDamaged

MOST_REPORTS, LONGEST_NAME = 10**12, 250
SHA256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Label = Annotated[str, Field(pattern=r"^[0-9]{8}T[0-9]{6}Z$")]
WINDOW_NUMBER = Annotated[str, Field(pattern=r"^[0-9]{1,18}$")]
Count = Annotated[int, Field(ge=0, le=MOST_REPORTS)]


def _below(name: str) -> str:
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name:
        raise ValueError("leads out of the folder")
    if len(name.encode()) > LONGEST_NAME:
        raise ValueError("is longer than a name of a file")
    return name


FileName = Annotated[str, AfterValidator(_below)]
"""Of a file below the folder of a window."""


class _Record(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)


class Observations(_Record):
    """Reports of a window by class, and the digest of all of them."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Count] = Field(init=False)

    digest: str


class WindowRecord(_Record):
    """The manifest of a window."""

    label: Label
    previous: str
    source: Literal["analysis", "forecast"]
    observations: Observations
    monitors: dict[str, float | None]
    data: Annotated[str, Field(pattern=r"^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{16}$")]
    files: dict[FileName, SHA256]


class IdentityRecord(_Record):
    """`cycle.json`."""

    format: int
    store: Literal["windows", "icechunk"]
    identity: dict[str, str]
    forks: list[dict[str, Any]]


class MonthRecord(_Record):
    """What a month holds."""

    windows: dict[Label, SHA256]
    data: Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9a-f]{16}$")]
    files: dict[FileName, SHA256]
    is_cleared: bool


class RemovedRecord(_Record):
    """`removed.json`."""

    windows: Count
    first: Label | Literal[""]
    previous: str
    restarts: list[
        Annotated[list[Annotated[int, Field(ge=1, le=MOST_REPORTS)]], Field(min_length=2, max_length=2)]
    ]
    cleared: Count


T = TypeVar("T", bound=_Record)


def demand(model: type[T], values: Any, path: Path, remedy: str = "restore it from a backup") -> T:
    """Return the values of a file as what they must be.

    Raises:
        StoreDamaged: They are something else; the message says which and why.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise StoreDamaged(f"'{path}': {place}: {first['msg']}", remedy) from None
