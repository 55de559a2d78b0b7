"""Blocks of samples: the same bytes whoever makes them, however many at once, after whatever happened."""

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from koopcast.errors import Underresolved
from koopcast.generation import (
    Drawings,
    Draws,
    Made,
    Recipe,
    Run,
    Sizes,
    Solutions,
    Trajectories,
    conclusion,
    describe,
)
from koopcast.generation import trajectories as trajectories_module
from koopcast.integrators.etdrk4 import ETDRK4Spec
from koopcast.integrators.rk4 import RK4Spec
from koopcast.progress import Progress, listening
from koopcast.solvers.direct import DirectSpec
from koopcast.stores.regions import Regions
from koopcast.systems.darcy import DarcySpec
from koopcast.systems.dynamic_signal import DynamicSignalSpec
from koopcast.systems.kuramoto_sivashinsky import KuramotoSivashinskySpec
from koopcast.systems.lorenz96 import Lorenz96Spec
from tasks.blocks import make_missing

KS = Run(KuramotoSivashinskySpec(points=48), ETDRK4Spec(), samples=7, steps=30, dt=0.25, record_every=2)
RING = Run(Lorenz96Spec(), RK4Spec(), samples=7, steps=100, burn_in=10)


def trajectories(run: Run) -> Trajectories:
    sizes = Sizes.of(describe(run), "float32", 2)
    return Trajectories(run=run, draws=Draws(1, run.samples), block=2, window=sizes.window)


RECIPES: dict[str, Recipe] = {
    "spectral": trajectories(KS),
    "arrays": trajectories(RING),
    "solved": Solutions(system=DarcySpec(points=17), solver=DirectSpec(), draws=Draws(1, 7), block=2),
    "drawn": Drawings(system=DynamicSignalSpec(), draws=Draws(1, 7), block=2),
}
Make = Callable[[Recipe, Regions], Any]


def produce(recipe: Recipe, folder: Path, make: Make) -> dict[str, bytes]:
    regions = Regions.lay_out(folder / "scratch", recipe.template(), recipe.block)
    make(recipe, regions)
    made = [Made(**facts) for facts in regions.facts()]
    regions.finish(folder / "fields.zarr", conclusion(recipe, made))
    files = sorted(path for path in (folder / "fields.zarr").rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def too_strict() -> Recipe:
    recipe = RECIPES["spectral"]
    assert isinstance(recipe, Trajectories)
    return replace(recipe, run=replace(recipe.run, verify_tol=1e-12))


def in_threads(workers: int) -> Make:
    return lambda recipe, regions: make_missing(recipe, regions, workers)


@pytest.mark.parametrize("name", RECIPES)
def test_the_number_of_workers_does_not_show_in_the_bytes(tmp_path: Path, name: str) -> None:
    one = produce(RECIPES[name], tmp_path / "one", in_threads(1))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert produce(RECIPES[name], tmp_path / "two", in_threads(2)) == one
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_step_on_a_cluster_hands_its_blocks_to_that_cluster(tmp_path: Path, workers: int) -> None:
    from distributed import Client, LocalCluster

    options = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": None, "host": "127.0.0.1"}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        for name, recipe in RECIPES.items():

            def on_cluster(recipe: Recipe, regions: Regions) -> None:
                client.submit(make_missing, recipe, regions, 2, pure=False).result(timeout=60)

            one = produce(recipe, tmp_path / name / "one", in_threads(1))
            assert produce(recipe, tmp_path / name / "cluster", on_cluster) == one
        strict = too_strict()
        regions = Regions.lay_out(tmp_path / "refused", strict.template(), strict.block)
        with pytest.raises(Underresolved, match="halving dt"):
            on_cluster(strict, regions)
        assert 0 in regions.missing()


class Interrupted(Exception):
    """Stands for whatever ends an attempt."""


def test_an_attempt_that_was_interrupted_is_gone_on_with(tmp_path: Path) -> None:
    recipe, begun = RECIPES["solved"], []
    whole = produce(recipe, tmp_path / "whole", in_threads(1))
    regions = Regions.lay_out(tmp_path / "broken" / "scratch", recipe.template(), recipe.block)

    def hear(report: Progress) -> None:
        begun.append(report)
        if report.done == 5:
            raise Interrupted

    with pytest.raises(Interrupted), listening(hear):
        make_missing(recipe, regions, 1)
    assert [(report.unit, report.done, report.total) for report in begun[:5]] == [
        ("sample", done, 7) for done in range(1, 6)
    ]
    assert regions.missing() == [2, 3]
    again: list[Progress] = []
    with listening(again.append):
        assert produce(recipe, tmp_path / "broken", in_threads(2)) == whole
    assert (again[-1].done, again[-1].total) == (3, 3)


def test_a_refused_sample_ends_all_blocks_and_leaves_those_that_were_made(tmp_path: Path) -> None:
    strict = too_strict()
    regions = Regions.lay_out(tmp_path, strict.template(), strict.block)
    with pytest.raises(Underresolved, match="halving dt"):
        make_missing(strict, regions, 2)
    assert 0 in regions.missing()


def test_memory_does_not_grow_with_the_records_of_a_trajectory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trajectories_module, "check_step", lambda *_: 0.0)
    monkeypatch.setattr(trajectories_module, "spun_up", lambda run, state, parameters: state)

    def peak(steps: int) -> tuple[int, int]:
        run = Run(Lorenz96Spec(points=100_000), RK4Spec(), steps=steps, dt=1e-4)
        sizes = Sizes.of(describe(run), "float64")
        recipe = Trajectories(run=run, draws=Draws(1), block=1, window=sizes.window, dtype="float64")
        regions = Regions.lay_out(tmp_path / str(steps), recipe.template(), 1)
        tracemalloc.start()
        make_missing(recipe, regions, 1)
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return held, sizes.stored

    short, _ = peak(20)
    long, stored = peak(60)
    assert long < 1.1 * short
    assert stored > 3 * long
