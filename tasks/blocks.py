"""Blocks of samples as Dask tasks: in threads of this process, or on the cluster that this step runs on."""

import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import torch
from dask.base import compute
from dask.delayed import Delayed, delayed

from koopcast.errors import EngineError
from koopcast.generation import Recipe
from koopcast.generation.recipe import Advance
from koopcast.progress import report
from koopcast.stores.regions import Regions
from tasks.threads import compute_with

STOP = "stop"
"""File beside the regions that ends the blocks which other machines make."""


def make_missing(recipe: Recipe, regions: Regions, workers: int) -> None:
    """Make the blocks that are not on the disk yet, so many at a time as there are workers.

    Bytes do not depend on who makes a block: each is computed by one thread alone.

    Raises:
        ComputeError: A block could not be made; those that were under way have ended.
    """
    missing = regions.missing()
    if not missing:
        return
    meter = _Meter(recipe, missing)
    if _is_on_cluster():
        _on_cluster(recipe, regions, missing, meter)
    else:
        _in_threads(recipe, regions, missing, meter, workers)


def make_block(recipe: Recipe, regions: Regions, block: int, advance: Advance = lambda done: None) -> int:
    """Make one block, write it, and mark it; return its number."""
    advance(0)
    with _one_thread():
        made = recipe.make(block, regions.write, advance)
    regions.mark(block, made.as_json())
    return block


def _in_threads(
    recipe: Recipe, regions: Regions, missing: Sequence[int], meter: "_Meter", workers: int
) -> None:
    tasks = _tasks(recipe, regions, missing, meter.advance)
    with ThreadPoolExecutor(max(1, min(workers, len(missing)))) as pool:
        try:
            compute(*tasks, scheduler="threads", pool=pool, optimize_graph=False)
        except BaseException:
            meter.stop()
            raise


def _tasks(recipe: Recipe, regions: Regions, missing: Sequence[int], advance: Advance) -> list[Delayed]:
    """Return the blocks as tasks. Dask begins with the last name, which is that of the first block."""
    run, make = uuid4().hex, delayed(make_block, pure=False)
    return [
        make(recipe, regions, block, advance, dask_key_name=f"block-{run}-{len(regions) - block:07d}")
        for block in missing
    ]


def _is_on_cluster() -> bool:
    """Return whether this thread runs a task of a Dask worker, which has imported what that takes."""
    if "distributed" not in sys.modules:
        return False
    from distributed import get_worker

    try:
        get_worker()
    except ValueError:
        return False
    return True


def _on_cluster(recipe: Recipe, regions: Regions, missing: Sequence[int], meter: "_Meter") -> None:
    from distributed import as_completed, wait, worker_client

    flag = regions.folder / STOP
    flag.unlink(missing_ok=True)
    # The client gives this thread's place back to the worker, so that one worker is enough.
    with worker_client() as client:
        futures = client.compute(_tasks(recipe, regions, missing, _UnlessStopped(flag)))
        try:
            for future in as_completed(futures):
                meter.finish(future.result())
        except BaseException:
            flag.touch()
            wait(futures)
            raise


@dataclass(frozen=True)
class _UnlessStopped:
    """Hears of work on another machine, and ends it where a file says that it is in vain."""

    flag: Path

    def __call__(self, done: int) -> None:
        if self.flag.exists():
            raise EngineError("another block has failed")


class _Meter:
    """Counts the work of blocks made side by side, and reports it where the step listens."""

    def __init__(self, recipe: Recipe, missing: Sequence[int]) -> None:
        self._recipe, self._context = recipe, copy_context()
        self._lock, self._done, self._is_stopped = threading.Lock(), 0, False
        self._total = sum(len(recipe.members(block)) for block in missing) * recipe.work_of_sample

    def advance(self, done: int) -> None:
        """Take in work of any thread.

        Raises:
            EngineError: Another block has failed, and this one is in vain.
        """
        with self._lock:
            if self._is_stopped:
                raise EngineError("another block has failed")
            if not done:
                return
            self._done = min(self._done + done, self._total)
            self._context.run(report, self._recipe.unit, self._done, self._total)

    def finish(self, block: int) -> None:
        """Take in a whole block."""
        self.advance(len(self._recipe.members(block)) * self._recipe.work_of_sample)

    def stop(self) -> None:
        """End the blocks that are under way at their next report."""
        with self._lock:
            self._is_stopped = True


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch compute in this thread alone: sums in several threads round differently."""
    before = torch.get_num_threads()
    compute_with(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
