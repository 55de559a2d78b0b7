"""The record of each run: its steps, what they made, how it ended; and names such as `runs://sst/latest/dynamics`."""

import re
import secrets
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from difflib import get_close_matches
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from koopcast.errors import InvalidInput, StoreDamaged, StoreMissing
from koopcast.stores.artefact import ArtefactRef
from koopcast.stores.durable import TEMPORARY, remove, sync, temporary_sibling, write_whole, writing
from koopcast.stores.layout import RUNS, Layout
from koopcast.stores.lease import Lease
from koopcast.stores.lock import Lock

RECORD = "record.json"
LATEST = "latest"
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class StepRecord(BaseModel):
    """What is known of one step of a run."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kind: str
    """Of its artefact."""
    key: str
    state: Literal["pending", "running", "done", "failed"] = "pending"
    digest: str = ""
    """Of its artefact's manifest, once done."""
    cached: bool = False
    """Whether the artefact was there before the run."""
    seconds: float = 0.0
    message: str = ""
    """Why it failed."""

    @property
    def ref(self) -> ArtefactRef:
        """What the step made; only a step that is done has one."""
        return ArtefactRef(kind=self.kind, key=self.key, digest=self.digest)


class RunRecord(BaseModel):
    """What is known of one run."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    pipeline: str
    id: str
    created: datetime
    finished: datetime | None = None
    state: Literal["running", "done", "failed"] = "running"
    """As the run last wrote it; of a killed run it stays `running`, see `Run.state`."""
    steps: dict[str, StepRecord] = {}
    scores: dict[str, JsonValue] = {}
    notes: dict[str, JsonValue] = {}
    """Whatever else a report shows: engine, hardware, expectations that failed."""


class Run:
    """A run in its directory `runs/<pipeline>/<run-id>/`: the one that we are, or one that we look at."""

    def __init__(
        self, layout: Layout, path: Path, record: RunRecord, lock: Lock | Lease | None = None
    ) -> None:
        self.path = path
        self._layout = layout
        self._record = record
        self._lock = lock
        self._update = threading.Lock()

    @property
    def record(self) -> RunRecord:
        """What is known of the run: of ours now, of another's when it was opened."""
        return self._record

    @property
    def name(self) -> str:
        """`<pipeline>/<run-id>`."""
        return f"{self._record.pipeline}/{self._record.id}"

    @property
    def is_live(self) -> bool:
        """Whether the process of the run is alive."""
        if self._lock is not None:
            return True
        return self._layout.run_lock(self._record.pipeline, self._record.id).is_held

    @property
    def state(self) -> Literal["running", "done", "failed", "killed"]:
        """The state of the record, or `killed` where the run died without a word."""
        return "killed" if self._record.state == "running" and not self.is_live else self._record.state

    def write(self, name: str, content: str | bytes) -> Path:
        """Write a file of the run (`run.lock.yaml`, a report) in one step; return its path."""
        path = self.path / name
        with writing(self._layout.root):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, content)
        if self._layout.bucket is not None:
            self._layout.bucket.put(f"{RUNS}/{self.name}/{name}", path.read_bytes())
        return path

    def read(self, name: str) -> str | None:
        """Return a text that the run wrote, None where it wrote none of that name.

        Raises:
            StoreDamaged: It is no text.
        """
        content = _content(self._layout, self.path, name)
        try:
            return None if content is None else content.decode()
        except UnicodeDecodeError as error:
            raise StoreDamaged(
                f"'{self.name}/{name}' is no text ({error})", "run the pipeline again"
            ) from error

    def bring(self) -> Path:
        """Return the directory of the run with all its files on this machine."""
        if self._layout.bucket is not None:
            folder = f"{RUNS}/{self.name}"
            files = [item.removeprefix(f"{folder}/") for item in self._layout.bucket.listing(folder)]
            with writing(self._layout.root):
                self._layout.bucket.download({f"{folder}/{name}": self.path / name for name in files})
        return self.path

    def update(self, **changes: Any) -> RunRecord:
        """Change fields of the record and write it."""
        with self._update:
            return self._write(changes)

    def set_step(self, name: str, step: StepRecord) -> RunRecord:
        """Put a step into the record and write it."""
        with self._update:
            return self._write({"steps": {**self._record.steps, name: step}})

    def _write(self, changes: Mapping[str, Any]) -> RunRecord:
        record = RunRecord.model_validate({**dict(self._record), **changes})
        self.write(RECORD, _text(record))
        self._record = record
        return record

    def finish(self, state: Literal["done", "failed"]) -> None:
        """Note how the run ended, and let go of it."""
        try:
            self.update(state=state, finished=datetime.now(UTC))
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the run without a word about its end."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> "Run":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            self.finish("done" if error is None else "failed")


def create_run(layout: Layout, pipeline: str, steps: Mapping[str, StepRecord]) -> Run:
    """Make the directory and the record of a new run, which lives until it is finished or this process ends.

    Raises:
        InvalidInput: `pipeline` is no single word.
        StoreNotWritable: The store is read-only or full.
    """
    folder = _pipeline_folder(layout, pipeline)
    now = datetime.now(UTC)
    run_id = f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
    record = RunRecord(pipeline=pipeline, id=run_id, created=now, steps=dict(steps))
    gate = layout.gc_lock()
    gate.acquire()
    try:
        lock = layout.run_lock(pipeline, run_id)
        with writing(layout.root):
            draft = temporary_sibling(folder / run_id)
            draft.mkdir(parents=True)
            try:
                write_whole(draft / RECORD, _text(record))
                lock.acquire()
                draft.rename(folder / run_id)
                sync(folder)
                if layout.bucket is not None:
                    layout.bucket.create(f"{RUNS}/{pipeline}/{run_id}/{RECORD}", _text(record))
            except BaseException:
                lock.release()
                remove(draft)
                raise
    finally:
        gate.release()
    return Run(layout, folder / run_id, record, lock)


def read_run(layout: Layout, path: Path) -> Run:
    """Return the run whose record stands in directory `path`.

    Raises:
        StoreDamaged: The record cannot be read.
    """
    try:
        record = RunRecord.model_validate_json(_content(layout, path, RECORD) or b"nothing")
    except (OSError, ValidationError) as error:
        raise StoreDamaged(
            f"run '{path}' has no readable {RECORD} ({error})", "delete the directory"
        ) from error
    if (record.pipeline, record.id) != (path.parent.name, path.name):
        raise StoreDamaged(
            f"run '{path}' has the {RECORD} of {record.pipeline}/{record.id}", "delete the directory"
        )
    return Run(layout, path, record)


def _content(layout: Layout, folder: Path, name: str) -> bytes | None:
    """Return a file of a run; what stands in a bucket counts."""
    if layout.bucket is not None:
        held = layout.bucket.get(f"{folder.relative_to(layout.root).as_posix()}/{name}")
        return None if held is None else held.content
    path = folder / name
    return path.read_bytes() if path.is_file() else None


def _text(record: RunRecord) -> bytes:
    return f"{record.model_dump_json(indent=1)}\n".encode()


def pipelines(layout: Layout) -> list[str]:
    """Return the names of the pipelines that have runs."""
    return _names(layout, layout.all_runs)


def run_paths(layout: Layout, pipeline: str) -> list[Path]:
    """Return the directories of the runs of a pipeline, oldest first."""
    folder = _pipeline_folder(layout, pipeline)
    return [folder / name for name in _names(layout, folder)]


def list_runs(layout: Layout, pipeline: str) -> Iterator[Run]:
    """Yield the runs of a pipeline, newest first; those of one second are ordered by their records."""
    newest_first = reversed(run_paths(layout, pipeline))
    for _, same_second in groupby(newest_first, key=lambda path: path.name.partition("-")[0]):
        runs = [read_run(layout, path) for path in same_second]
        yield from sorted(runs, key=lambda run: run.record.created, reverse=True)


def open_run(layout: Layout, name: str) -> Run:
    """Return the run `<pipeline>/<run-id>`, or the newest as `<pipeline>/latest`."""
    pipeline, slash, run_id = name.partition("/")
    if not slash:
        raise InvalidInput(f"'{name}' is no name of a run", "write <pipeline>/latest or <pipeline>/<run-id>")
    return next(_candidates(layout, pipeline, run_id))


def resolve_step(layout: Layout, uri: str) -> ArtefactRef:
    """Return what `runs://<pipeline>/<run-id or latest>/<step>` refers to."""
    parts = uri.removeprefix("runs://").split("/")
    if not uri.startswith("runs://") or len(parts) != 3:
        raise InvalidInput(
            f"'{uri}' is no reference to a step", "write runs://<pipeline>/<run-id or latest>/<step>"
        )
    pipeline, run_id, step = parts
    known: dict[str, None] = {}
    for run in _candidates(layout, pipeline, run_id):
        record = run.record.steps.get(step)
        if record is not None and record.state == "done":
            return record.ref
        known.update(dict.fromkeys(run.record.steps))
    if step in known:
        raise StoreMissing(f"'{uri}': step '{step}' did not complete", f"run pipeline '{pipeline}' first")
    raise _missing(f"'{uri}': there is no step '{step}'", step, list(known))


def _candidates(layout: Layout, pipeline: str, run_id: str) -> Iterator[Run]:
    """Yield the runs that `run_id` may mean, best first; at least one."""
    folder = _pipeline_folder(layout, pipeline)
    names = _names(layout, folder)
    if not names:
        raise _missing(f"pipeline '{pipeline}' has no runs", pipeline, pipelines(layout))
    if run_id == LATEST:
        yield from list_runs(layout, pipeline)
    elif run_id in names:
        yield read_run(layout, folder / run_id)
    else:
        raise _missing(f"pipeline '{pipeline}' has no run '{run_id}'", run_id, [LATEST, *reversed(names)])


def _pipeline_folder(layout: Layout, pipeline: str) -> Path:
    if not _WORD.fullmatch(pipeline):
        raise InvalidInput(f"'{pipeline}' is no name of a pipeline", "use letters, digits, '.', '_' and '-'")
    return layout.all_runs / pipeline


def _missing(message: str, name: str, known: list[str]) -> StoreMissing:
    close = get_close_matches(name, known, 1)
    shown = ", ".join(known[:8]) + (", ..." if len(known) > 8 else "")
    return StoreMissing(message, f"did you mean '{close[0]}'?" if close else f"there are: {shown or 'none'}")


def _names(layout: Layout, folder: Path) -> list[str]:
    if layout.bucket is not None:
        return layout.bucket.entries(folder.relative_to(layout.root).as_posix())
    try:
        entries = [entry.name for entry in folder.iterdir() if entry.is_dir()]
    except FileNotFoundError:
        return []
    return sorted(name for name in entries if not name.startswith(TEMPORARY))
