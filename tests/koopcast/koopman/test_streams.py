"""Frames that are read block by block give the model of frames that are held in memory."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from pydantic import TypeAdapter

import koopcast.batches
import koopcast.koopman.snapshots
from koopcast.errors import DataError
from koopcast.fields import FieldData
from koopcast.koopman import AnyKoopman, DMDSpec, TLSDMDSpec
from koopcast.koopman.projection import ProjectedSpec, project
from koopcast.numerics.streaming_svd import incremental_basis, randomised_basis
from koopcast.samplers import IIDSpec
from koopcast.subsets import SubsetSpec

MakeFields = Callable[..., FieldData]


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    # Seven frames of 40 values and two channels of four bytes.
    monkeypatch.setattr(koopcast.batches, "BLOCK_BYTES", 7 * 40 * 2 * 4)
    # The masks of two times.
    monkeypatch.setattr(koopcast.koopman.snapshots, "MASK_CELLS", 90)


def _values(noise: float = 0.0, samples: int = 3, times: int = 50) -> np.ndarray:
    rng = np.random.default_rng(0)
    phases = rng.uniform(0, 6, size=(samples, 1, 3)) + np.arange(times)[:, None] * np.array([0.3, 0.8, 1.7])
    signals = np.concatenate([np.cos(phases), np.sin(phases)], axis=2) * np.array([9, 4, 2, 9, 4, 2])
    values = 280 + (signals @ rng.normal(size=(6, 80))).reshape(samples, times, 40, 2) * np.array([1.0, 50.0])
    return values + noise * rng.normal(size=values.shape)


@pytest.mark.parametrize("svd", ["randomised", "incremental"])
@pytest.mark.parametrize(
    "options",
    [
        {"rank": 6, "ridge": 0.0},
        {"rank": 6, "delays": 3, "ridge": 1e-3},
        {"rank": 0.9, "center": False},
        {"rank": None},
    ],
)
def test_a_model_of_streamed_frames_is_that_of_held_ones(
    make_fields: MakeFields, svd: str, options: dict[str, object]
) -> None:
    mask = np.ones((50, 40), dtype=bool)
    mask[:, 3] = False
    mask[21] = False
    mask[30, 8] = False
    values = _values()
    values[np.broadcast_to(~mask[..., None], values.shape)] = np.nan
    # A masked cell is told by the first time that lacks it alone.
    fields = make_fields(values, mask=mask, train=44).part("train")
    held, streamed = (
        DMDSpec(svd=way, **options).fit(fields, torch.Generator().manual_seed(0)) for way in ("memory", svd)
    )
    assert streamed.card()["training_pairs"] == held.card()["training_pairs"]
    assert streamed.card()["rank"] == held.card()["rank"]
    ours, theirs = streamed.tensors(), held.tensors()
    for name in ("cells", "background", "offset", "factor"):
        assert torch.allclose(ours[name], theirs[name], rtol=1e-10), name
    for name in ("eigenvalues", "figures"):
        assert torch.allclose(ours[name], theirs[name], atol=1e-8), name
    frames = fields.tensor(dtype=torch.float64)[:, : held.history]
    assert torch.allclose(streamed.forecast(frames, [1, 9]), held.forecast(frames, [1, 9]), atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "tls_dmd"},
        {"kind": "fb_dmd"},
        {"kind": "opt_dmd"},
        {"kind": "mr_dmd", "levels": 2, "cycles": 30},
        {"kind": "pi_dmd", "manifold": "symmetric"},
        {"kind": "dmdc", "inputs": ["u1"]},
    ],
    ids=lambda options: options["kind"],
)
def test_every_kind_streams(make_fields: MakeFields, options: dict[str, object]) -> None:
    fields = make_fields(_values())
    held, streamed = (
        TypeAdapter(AnyKoopman)
        .validate_python({**options, "rank": 6, "svd": svd})
        .fit(fields, torch.Generator().manual_seed(0))
        for svd in ("memory", "randomised")
    )
    assert torch.allclose(streamed.tensors()["eigenvalues"], held.tensors()["eigenvalues"], atol=1e-7)
    frames = fields.tensor(dtype=torch.float64)[:, 5:6]
    assert torch.allclose(streamed.forecast(frames, [1, 4]), held.forecast(frames, [1, 4]), atol=1e-5)


def test_many_short_trajectories_share_a_block(make_fields: MakeFields) -> None:
    fields = make_fields(_values(samples=40, times=3))
    held, streamed = (
        DMDSpec(rank=6, ridge=0.0, svd=svd).fit(fields, torch.Generator().manual_seed(0))
        for svd in ("memory", "randomised")
    )
    assert streamed.card()["training_pairs"] == held.card()["training_pairs"] == 80
    assert torch.allclose(streamed.tensors()["eigenvalues"], held.tensors()["eigenvalues"], atol=1e-9)


@pytest.mark.parametrize("chunks", [None, {}], ids=["zarr", "dask"])
def test_a_store_is_read_in_single_precision_as_it_is(
    make_fields: MakeFields, tmp_path: Path, chunks: dict[str, int] | None
) -> None:
    fields = make_fields(_values().astype(np.float32))
    fields.dataset.to_zarr(tmp_path / "u.zarr", zarr_format=3, consolidated=False)
    stored = replace(fields, dataset=xr.open_zarr(tmp_path / "u.zarr", consolidated=False, chunks=chunks))
    held = DMDSpec(rank=6, ridge=0.0, svd="memory").fit(fields, torch.Generator().manual_seed(0))
    streamed = DMDSpec(rank=6, ridge=0.0, svd="randomised").fit(stored, torch.Generator().manual_seed(0))
    assert torch.allclose(streamed.tensors()["eigenvalues"], held.tensors()["eigenvalues"], atol=1e-9)
    assert torch.allclose(streamed.tensors()["offset"], held.tensors()["offset"], rtol=1e-12)


def test_noise_leaves_the_leading_directions_of_ten_passes_exact(make_fields: MakeFields) -> None:
    fields = make_fields(_values(noise=0.5))
    states = [
        project(fields, DMDSpec(rank=6, svd=svd), torch.Generator().manual_seed(0)).states
        for svd in ("memory", "randomised", "incremental")
    ]
    assert torch.allclose(states[1], states[0], atol=1e-9)
    # What a single pass cuts off is lost: the noise that it saw first.
    assert torch.allclose(states[2], states[0], atol=0.05)


def test_the_directions_are_those_of_a_singular_value_decomposition() -> None:
    rng = np.random.default_rng(1)
    U = np.linalg.qr(rng.normal(size=(200, 60)))[0]
    V = np.linalg.qr(rng.normal(size=(90, 60)))[0]
    A = torch.from_numpy(U * 0.7 ** np.arange(60) @ V.T)
    leading = torch.from_numpy(V[:, :5])

    def blocks() -> tuple[torch.Tensor, ...]:
        return A.split(17)

    random = randomised_basis(blocks, 90, 5, torch.Generator().manual_seed(0))
    # A single pass cuts off 0.7²¹ = 6e-4 of the largest.
    for Q, tolerance in ((random, 1e-10), (incremental_basis(blocks, 90, 5), 1e-3)):
        assert Q.shape == (90, 21)
        assert torch.allclose(Q.mT @ Q, torch.eye(21, dtype=torch.float64), atol=1e-12)
        missed = torch.linalg.matrix_norm(leading - Q @ (Q.mT @ leading), 2)
        assert float(missed) < tolerance


def test_frames_above_the_memory_are_streamed(make_fields: MakeFields) -> None:
    fields = make_fields(_values())
    # 3 · 50 frames of 80 values of 8 bytes, four times: 384 kB, twice that in stacks of two.
    assert not DMDSpec(memory=4e-4).streams(fields.shape_info)
    assert DMDSpec(memory=3.8e-4).streams(fields.shape_info)
    assert DMDSpec(memory=4e-4, delays=2).streams(fields.shape_info)
    assert not DMDSpec(memory=3.8e-4, svd="memory").streams(fields.shape_info)
    spec = DMDSpec(memory=3.8e-4, rank=6)
    one, other = (s.fit(fields, torch.Generator().manual_seed(0)).tensors() for s in (spec, spec))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_subset_chooses_the_same_pairs_block_by_block(make_fields: MakeFields) -> None:
    fields = make_fields(_values(noise=0.1))
    subset = SubsetSpec(sampler=IIDSpec(), count=40)
    found = []
    for svd in ("memory", "incremental"):
        spec: ProjectedSpec = TLSDMDSpec(rank=6, svd=svd)
        found.append(spec.fit(fields, torch.Generator().manual_seed(4), subset).card())
    assert found[0]["training_pairs"] == found[1]["training_pairs"] == 40
    assert found[0]["relative_one_step_error"] == pytest.approx(found[1]["relative_one_step_error"], rel=0.05)


def test_a_share_that_few_directions_do_not_reach_is_refused(
    make_fields: MakeFields, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("koopcast.koopman.projection.STREAMED_RANK", 5)
    fields = make_fields(_values(noise=20.0))
    for rank in (0.999, None, "optimal"):
        with pytest.raises(DataError, match=r"5 directions hold 0\.\d+ of their variance; give `rank`"):
            DMDSpec(rank=rank, svd="randomised").fit(fields, generator)
    assert DMDSpec(rank=0.3, svd="randomised").fit(fields, generator).card()["rank"] <= 5
