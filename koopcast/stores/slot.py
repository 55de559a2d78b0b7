"""The place in which one artefact is made, and its publication in one step."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from pydantic import JsonValue

from koopcast.errors import StoreError
from koopcast.stores.artefact import MANIFEST, Artefact, Manifest, parse_name, read_artefact
from koopcast.stores.durable import discard, remove, sync_tree, write_whole, writing
from koopcast.stores.integrity import age, describe, list_files, remember_all
from koopcast.stores.layout import Layout


@dataclass
class Slot:
    """What `Store.produce` hands out: an artefact that is there already, or a place to make it."""

    layout: Layout
    name: str
    existing: Artefact | None
    """The artefact, where it was published before; then there is nothing to do."""
    path: Path
    """Empty directory for the files of the artefact."""
    send: Callable[[Artefact], Artefact]
    """Passes what stands in the folder on to the object store; returns what is published then."""
    published: Artefact | None = None
    _started: float = field(default_factory=time.perf_counter)

    @property
    def scratch(self) -> Path:
        """Directory for checkpoints: it survives a kill and goes when the artefact is published."""
        scratch = self._scratch
        with writing(self.layout.root):
            scratch.mkdir(parents=True, exist_ok=True)
        return scratch

    @property
    def _scratch(self) -> Path:
        return self.layout.partial / self._kind_and_key[1]

    @property
    def _kind_and_key(self) -> tuple[str, str]:
        found = parse_name(self.name)
        assert found is not None
        return found

    def publish(
        self,
        *,
        spec: Mapping[str, JsonValue] | None = None,
        seed: int | None = None,
        versions: Mapping[str, str] | None = None,
        inputs: Mapping[str, str] | None = None,
        external: Mapping[str, str] | None = None,
        facts: Mapping[str, JsonValue] | None = None,
        timings: Mapping[str, float] | None = None,
    ) -> Artefact:
        """Describe, sync and rename: the artefact exists whole from then on, and not at all before.

        The arguments are those of `Manifest`; `timings` gains `total`, seconds since the slot was entered,
        unless it is given.

        Raises:
            StoreNotWritable: The disk is full; nothing was published.
        """
        kind, key = self._kind_and_key
        with writing(self.layout.root):
            manifest = Manifest(
                kind=kind,
                key=key,
                spec=dict(spec or {}),
                seed=seed,
                versions=dict(versions or {}),
                inputs=dict(inputs or {}),
                external=dict(external or {}),
                facts=dict(facts or {}),
                files=describe(self.path),
                timings={"total": time.perf_counter() - self._started, **(timings or {})},
                created=datetime.now(UTC),
            ).sealed()
            age(self.path)
            write_whole(self.path / MANIFEST, manifest.model_dump_json(indent=1) + "\n")
            sync_tree(self.path, list_files(self.path).values())
            made = read_artefact(self.layout.put_in_place(self.path, self.name))
            assert made is not None
            if self._scratch.exists():
                remove(self._scratch)
        remember_all(made, self.layout.memory(self.name))
        self.published = self.send(made)
        return self.published

    def __enter__(self) -> "Slot":
        if self.existing is None:
            self.path.mkdir(parents=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.existing is None and self.published is None:
            discard(self.path)
            if error is None:
                raise StoreError(f"nothing was published for {self.name}", "call `publish` on the slot")
