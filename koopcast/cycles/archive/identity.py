"""Which cycle an archive is of: digests of the options and the model that must not change while it grows."""

from collections.abc import Callable, Mapping
from typing import Any

from koopcast.cycles.archive.keeping import Form
from koopcast.cycles.archive.manifest import Manifest
from koopcast.cycles.archive.place import Place
from koopcast.cycles.archive.records import IdentityRecord, demand
from koopcast.errors import InvalidInput, StoreDamaged
from koopcast.stores.files import read_json

IDENTITY, FORMAT = "cycle.json", 1


def read_identity(place: Place) -> dict[str, Any] | None:
    """Return what an archive says of itself; None where it is not begun.

    Raises:
        StoreDamaged: It cannot be read.
    """
    path = place.root / IDENTITY
    if not path.exists():
        return None
    remedy = f"restore it from a backup, or remove '{path.name}': the next tick writes the present options"
    try:
        held: dict[str, Any] = read_json(path)
    except StoreDamaged as error:
        raise StoreDamaged(error.message, remedy) from error
    demand(IdentityRecord, held, path, remedy)
    if held["format"] != FORMAT:
        raise StoreDamaged(
            f"'{path}' has format {held['format']}, this version knows {FORMAT}",
            "install the version that wrote it",
        )
    return held


def begin(
    place: Place,
    form: Form,
    identity: Mapping[str, str],
    last: Callable[[], Manifest | None],
    *,
    fork: bool = False,
) -> None:
    """Begin an archive, or check that it is of this cycle.

    Args:
        place: Of the archive.
        form: Of the fields.
        identity: Part -> digest.
        last: Returns the last window, None where there is none yet; asked if the identity is another.
        fork: Take the new identity from there on; the archive remembers the one before.

    Raises:
        InvalidInput: The archive is of something else.
        StoreDamaged: What it says of itself cannot be read.
        StoreNotWritable: It may only be read.
    """
    held = read_identity(place)
    if held is None:
        place.write_json(IDENTITY, {"format": FORMAT, "store": form, "identity": dict(identity), "forks": []})
        return
    if held["store"] != form:
        raise InvalidInput(
            f"the archive '{place.uri}' was begun with `store: {held['store']}`, not {form}",
            "go on with that, or choose another name",
        )
    changed = [name for name, digest in identity.items() if held["identity"].get(name) != digest]
    if not changed:
        return
    forks, tip = held["forks"], last()
    after, digest = (None, None) if tip is None else (tip.label, tip.digest)
    if forks and (forks[-1].get("tip", ""), forks[-1]["identity"]) == (digest, identity):
        # Nothing was published since the fork: it is undone.
        forks = forks[:-1]
    elif fork:
        forks = [*forks, {"after": after, "tip": digest, "identity": held["identity"]}]
    else:
        raise InvalidInput(
            f"the archive '{place.uri}' was begun with another {' and '.join(changed)}",
            "restore it, choose another name, or go on with the new one from here: --fork",
        )
    place.write_json(IDENTITY, {**held, "identity": dict(identity), "forks": forks})
