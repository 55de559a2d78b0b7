"""What lies in a bucket: artefacts with their objects, and objects that belong to none."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

from koopcast.errors import StoreDamaged
from koopcast.stores.artefact import Artefact
from koopcast.stores.bucket import Bucket, Listed
from koopcast.stores.layout import ARTEFACTS, RUNS
from koopcast.stores.remote import Remote, files_of, manifest_of

Objects = Mapping[str, Listed]


@dataclass(frozen=True)
class Stock:
    """Objects below the name of an artefact."""

    name: str
    objects: Objects
    artefact: Artefact | None
    """What is published; None where nothing is, or its manifest cannot be read."""
    fault: str | None = None
    """Why its manifest cannot be read."""

    @property
    def num_bytes(self) -> int:
        """Bytes of all objects."""
        return size_of(self.objects)

    @property
    def manifest(self) -> Listed | None:
        """The object that publishes the artefact."""
        return self.objects.get(manifest_of(self.name))

    @property
    def orphans(self) -> Objects:
        """Objects that no publication names: of one that was replaced, or of an upload that was cut off."""
        own = {manifest_of(self.name)} if self.manifest is not None else set()
        if self.artefact is not None:
            own |= set(files_of(self.artefact).values())
        return {item: listed for item, listed in self.objects.items() if item not in own}


def every_stock(remote: Remote) -> Iterator[Stock]:
    """Yield all that lies below `artefacts/`, also under names that are none of an artefact."""
    for name, objects in _grouped(remote.bucket.listing(ARTEFACTS), 2):
        yield _stock(remote, name.partition("/")[2], objects)


def stock_of(remote: Remote, name: str) -> Stock:
    """Return what lies below the name of one artefact."""
    return _stock(remote, name, remote.bucket.listing(f"{ARTEFACTS}/{name}"))


def every_run(bucket: Bucket) -> Iterator[tuple[str, Objects]]:
    """Yield the name of each run, below the root of the store, with its objects."""
    yield from _grouped(bucket.listing(RUNS), 3)


def size_of(objects: Objects) -> int:
    """Return the bytes of objects."""
    return sum(listed.size for listed in objects.values())


def _stock(remote: Remote, name: str, objects: Objects) -> Stock:
    if manifest_of(name) not in objects:
        return Stock(name, objects, None)
    try:
        return Stock(name, objects, remote.find(name))
    except StoreDamaged as error:
        return Stock(name, objects, None, error.message.removeprefix(f"artefact {name}: "))


def _grouped(listing: Objects, depth: int) -> Iterator[tuple[str, Objects]]:
    def folder(name: str) -> str:
        return "/".join(name.split("/")[:depth])

    for name, group in groupby(sorted(listing, key=lambda name: (folder(name), name)), key=folder):
        yield name, {item: listing[item] for item in group}
