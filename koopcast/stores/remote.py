"""Artefacts on an object store: the manifest, written last, is the publication; its files lie below the
digest that it bears, so that who replaces an artefact never overwrites files of the former.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from koopcast.errors import StoreDamaged, StoreError, StoreLocked, StoreMissing
from koopcast.stores.artefact import MANIFEST, Artefact, parse_manifest, read_artefact
from koopcast.stores.bucket import Bucket, Held, Listed
from koopcast.stores.durable import remove, sync_tree, write_whole, writing
from koopcast.stores.integrity import age, describe, faults, list_files, remember_all
from koopcast.stores.layout import ARTEFACTS, Layout

DIGITS = 16
"""Of a digest, in the name of the folder of its files."""


class Remote:
    """The artefacts in a bucket, and their copies in the folder of this machine.

    A listing tells whether an artefact is whole: names, sizes, and that no file is younger than the manifest;
    one that is gets hashed. Files that are fetched are always hashed.

    Args:
        layout: Of the folder.
        bucket: What counts.
    """

    def __init__(self, layout: Layout, bucket: Bucket) -> None:
        self._layout, self.bucket = layout, bucket

    def find(self, name: str) -> Artefact | None:
        """Return an artefact if it is published; its files need not be here.

        Raises:
            StoreDamaged: Its manifest cannot be read.
        """
        held = self.held(name)
        return None if held is None else parse_manifest(held.content, self._layout.artefacts / name)

    def held(self, name: str) -> Held | None:
        """Return the manifest of an artefact as it stands in the bucket, whatever it holds."""
        return self.bucket.get(manifest_of(name))

    def faults(self, artefact: Artefact, *, deep: bool) -> list[str]:
        """Return what is wrong with the files in the bucket, one sentence a file.

        Args:
            artefact: What to check.
            deep: Hash every file; else the copy on this machine is proof enough where it is sound.
        """
        if not deep and self.is_here(artefact):
            return []
        listed = self.bucket.listing(f"{ARTEFACTS}/{artefact.ref.name}")
        return [*_listed_faults(artefact, listed), *self._hashed_faults(artefact, listed, deep=deep)]

    def _hashed_faults(self, artefact: Artefact, listed: dict[str, Listed], *, deep: bool) -> Iterator[str]:
        manifest = listed.get(manifest_of(artefact.ref.name))
        objects, expected = files_of(artefact), artefact.manifest.files
        doubtful = [
            name
            for name, item in objects.items()
            if item in listed
            and listed[item].size == expected[name].size
            and (deep or manifest is None or listed[item].modified > manifest.modified)
        ]
        digests = self.bucket.sha256(objects[name] for name in doubtful)
        for name, digest in zip(doubtful, digests, strict=True):
            if digest != expected[name].sha256:
                yield f"file '{name}' has digest {digest[:16]}, expected {expected[name].sha256[:16]}"

    def is_here(self, artefact: Artefact) -> bool:
        """Return whether this machine has a sound copy."""
        copy = self.copy(artefact.ref.name)
        return copy is not None and copy.ref == artefact.ref and not self._copy_faults(copy, deep=False)

    def copy(self, name: str) -> Artefact | None:
        """Return the copy on this machine, None where there is none or its manifest is damaged."""
        with suppress(StoreDamaged):
            return read_artefact(self._layout.artefacts / name)
        return None

    def _copy_faults(self, copy: Artefact, *, deep: bool) -> list[str]:
        return faults(copy, self._layout.memory(copy.ref.name), deep=deep)

    def fetch(self, artefact: Artefact) -> None:
        """Bring the files of an artefact to this machine, hashed; nothing happens where they are here.

        Raises:
            StoreDamaged: A file is missing or altered; the artefact is then no longer published.
        """
        if self.is_here(artefact):
            return
        name = artefact.ref.name
        draft, lock = self._layout.incoming / name, self._layout.lock_here(f"fetch-{name}")
        lock.acquire()
        try:
            if self.is_here(artefact):
                return
            with writing(self._layout.root):
                remove(draft)
                draft.mkdir(parents=True)
                self._download(artefact, draft)
                write_whole(draft / MANIFEST, artefact.manifest.model_dump_json(indent=1) + "\n")
                age(draft)
                sync_tree(draft, list_files(draft).values())
                self._layout.put_in_place(draft, name)
            remember_all(artefact, self._layout.memory(name))
        finally:
            remove(draft)
            lock.release()

    def _download(self, artefact: Artefact, draft: Path) -> None:
        objects = files_of(artefact)
        try:
            self.bucket.download({item: draft / name for name, item in objects.items()})
        except StoreMissing as error:
            self._condemn(artefact, error.message)
        expected = artefact.manifest.files
        wrong = [name for name, entry in describe(draft).items() if entry != expected[name]]
        # What was altered on the way is right the second time; a training is not lost to a bad line.
        digests = self.bucket.sha256(objects[name] for name in wrong)
        if any(digest != expected[name].sha256 for name, digest in zip(wrong, digests, strict=True)):
            self._condemn(artefact, f"file '{wrong[0]}' was altered")
        if wrong:
            raise StoreError(
                f"artefact {artefact.ref}: file '{wrong[0]}' arrived altered", "check the network; try again"
            )

    def _condemn(self, artefact: Artefact, fault: str) -> None:
        """Withdraw the publication of an artefact, unless another has replaced it; its step runs again."""
        name = artefact.ref.name
        with suppress(StoreError):
            held = self.held(name)
            if held is not None and parse_manifest(held.content, artefact.path).ref == artefact.ref:
                self.bucket.replace(manifest_of(name), f"damaged: {fault}\n".encode(), held.tag)
        raise StoreDamaged(
            f"artefact {artefact.ref} in '{self.bucket.uri}': {fault}",
            "run the pipeline again to make it anew",
        )

    def send(self, artefact: Artefact, former: Held | None) -> Artefact:
        """Publish what stands on this machine; return what is published then: it may be another's equal.

        Args:
            artefact: Here, and sound.
            former: What its manifest replaces; None where there is none.

        Raises:
            StoreLocked: Another published a different result meanwhile, which stays.
            StoreError: The bucket cannot be reached; the result stays on this machine.
        """
        name, text = manifest_of(artefact.ref.name), (artefact.path / MANIFEST).read_bytes()
        try:
            self.bucket.upload({item: artefact.path / file for file, item in files_of(artefact).items()})
            if former is None:
                self.bucket.create(name, text)
            else:
                self.bucket.replace(name, text, former.tag)
        except StoreLocked:
            return self._theirs(artefact)
        except StoreError as error:
            raise type(error)(
                f"{error.message}; the result is kept in '{artefact.path}'",
                f"{error.remedy}; run again to publish it, nothing is computed twice",
            ) from error
        return artefact

    def _theirs(self, artefact: Artefact) -> Artefact:
        found = self.find(artefact.ref.name)
        if found is None or found.ref != artefact.ref:
            raise StoreLocked(
                f"artefact {artefact.ref} was published by another meanwhile, with another result",
                "theirs stays; see that both machines have the same versions, and run again to go on with it",
            )
        return found

    def send_copy(self, name: str, former: Held | None) -> Artefact | None:
        """Publish the copy on this machine if it is sound: one that could not be sent when it was made."""
        copy = self.copy(name)
        if copy is None or self._copy_faults(copy, deep=True):
            return None
        return self.send(copy, former)


def files_of(artefact: Artefact) -> dict[str, str]:
    """Return the object of each file of an artefact."""
    folder = f"{ARTEFACTS}/{artefact.ref.name}/{artefact.ref.digest[:DIGITS]}"
    return {name: f"{folder}/{name}" for name in artefact.manifest.files}


def manifest_of(name: str) -> str:
    """Return the object that publishes an artefact."""
    return f"{ARTEFACTS}/{name}/{MANIFEST}"


def _listed_faults(artefact: Artefact, listed: dict[str, Listed]) -> Iterator[str]:
    for name, item in files_of(artefact).items():
        entry = artefact.manifest.files[name]
        if item not in listed:
            yield f"file '{name}' is missing"
        elif listed[item].size != entry.size:
            yield f"file '{name}' has {listed[item].size} bytes, expected {entry.size}"
