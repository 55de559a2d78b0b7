"""Training subsets: chosen by what frames look like, weighted in the fit, the same whatever the memory."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
import xarray as xr

from koopcast import batches
from koopcast.batches import Runs
from koopcast.errors import DataError
from koopcast.fields import FieldData
from koopcast.grids import Axis, FieldsInfo, TimeAxis, Window
from koopcast.koopman import DMDSpec, EDMDSpec
from koopcast.losses.h1 import H1Spec
from koopcast.losses.mse import MeanSquaredErrorSpec
from koopcast.losses.rel_l2 import RelativeL2Spec
from koopcast.models import Context
from koopcast.operators import FNOSpec
from koopcast.samplers import Rows, SamplerSpec
from koopcast.subsets import SubsetSpec
from koopcast.training import Trainer, TrainingSpec, TrainingTask, train

CPU = torch.device("cpu")
TINY = FNOSpec(width=4, layers=1, modes=4)


class Fixed(SamplerSpec):
    """The first rows, with stated weights; more rows than weights have the weight 1."""

    kind: Literal["fixed"] = "fixed"
    index: tuple[int, ...] = ()
    weight: tuple[float, ...] = ()

    reference = "for tests"

    def drawing(self, features):
        def draw(count, generator):
            index = np.array(self.index or range(count))
            weight = np.ones(len(index))
            weight[: len(self.weight)] = self.weight
            return Rows(index, weight)

        return draw


def fixed(count, **options):
    return SubsetSpec.model_construct(sampler=Fixed(**options), count=count, features="pod", modes=None)


def fields(values, train=None, mask=None):
    """Fields `(sample, time, x)`."""
    samples, times, size = values.shape
    variables = {"u": (("sample", "time", "x"), values)}
    if mask is not None:
        variables["mask"] = (("time", "x"), mask.astype("int8"))
    parts = {} if train is None else {"train": Window((0, samples), (0, train))}
    axis = Axis("x", size, periodic=True, length=1.0)
    info = FieldsInfo({"u": "1"}, (axis,), TimeAxis(times, 1.0), samples, parts, mask is not None)
    return FieldData(xr.Dataset(variables, coords={"time": np.arange(float(times))}), info)


def waves(samples=3, times=14, size=8, seed=1):
    rng = np.random.default_rng(seed)
    amplitude = rng.standard_normal((samples, 1, 3)) + 1j * rng.standard_normal((samples, 1, 3))
    wave = np.arange(1, 4)
    turn = np.exp((-0.02 * wave - 0.5j * wave) * np.arange(times)[:, None])
    return (amplitude * turn @ np.exp(2j * np.pi * np.outer(wave, np.arange(size)) / size)).real


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    "spec",
    [
        DMDSpec(delays=2),
        EDMDSpec(dictionary={"kind": "rbf", "centers": 5}, rank=4),
        EDMDSpec(delays=3, rank=3, dictionary="polynomial"),
    ],
)
def test_a_fit_on_all_pairs_is_the_full_fit(spec):
    data = fields(waves() + 0.1 * np.random.default_rng(2).standard_normal((3, 14, 8)))
    full, some = spec.fit(data, stream()), spec.fit(data, stream(), fixed(3 * (14 - spec.delays)))
    for name, tensor in full.tensors().items():
        assert torch.allclose(some.tensors()[name], tensor, rtol=1e-12, atol=1e-14), name


@pytest.mark.parametrize("spec", [DMDSpec, EDMDSpec])
def test_weights_enter_the_normal_equations(spec):
    # x: 1 -> 2 -> 3. With weights 4 and 1: K = (4·1·2 + 1·2·3) / (4·1 + 1·4) = 1.75; without, 8/5.
    data = fields(np.array([1.0, 2.0, 3.0])[None, :, None])
    options = {"rank": None, "ridge": 0.0, "center": False}
    model = spec(**options).fit(data, stream(), fixed(2, weight=(4.0, 1.0)))
    assert float(model.tensors()["operator"]) == pytest.approx(1.75)
    assert float(spec(**options).fit(data, stream()).tensors()["operator"]) == pytest.approx(1.6)
    # Σ w r² = 4·0.25² + 1·0.5² = 0.5 over 2 rows less 1 coefficient; a unit of the state is this field:
    unit = float(model.decode(torch.ones(1, 1, dtype=torch.float64)))
    assert float(model.noise_factor()) * unit == pytest.approx(0.5**0.5)
    # ‖√w (y - 1.75 x)‖ / ‖√w x‖ = √(0.5 / 8)
    assert float(model.tensors()["eigen_residuals"][0]) == pytest.approx((0.5 / 8) ** 0.5)
    assert model.card()["training_pairs"] == 2


def test_a_pair_that_is_named_twice_counts_twice():
    data = fields(waves())
    spec = EDMDSpec(rank=3, ridge=1e-3)
    twice = spec.fit(data, stream(), fixed(30, index=(*range(30), 4, 4)))
    weighted = spec.fit(data, stream(), fixed(30, weight=(1, 1, 1, 1, 3)))
    assert torch.allclose(twice.tensors()["operator"], weighted.tensors()["operator"], atol=1e-12)


def test_pairs_at_missing_times_are_no_candidates():
    values, mask = waves(samples=1, times=12), np.ones((12, 8))
    mask[5] = 0
    values[:, 5] = np.nan
    spec = DMDSpec(rank=2, delays=2)
    data = fields(values, mask=mask)
    # States end at 1, 2, 3 | 7, ..., 10, each followed by one more: 3 + 4 pairs.
    full, some = spec.fit(data, stream()), spec.fit(data, stream(), fixed(7))
    assert full.card()["training_pairs"] == 7
    assert torch.equal(full.tensors()["operator"], some.tensors()["operator"])


def test_the_weighted_gram_matrix_is_unbiased():
    frames = torch.from_numpy(waves(samples=6).reshape(-1, 8))
    frames[::7] *= 4
    subset = SubsetSpec(sampler="christoffel", count=12, modes=3)
    left, _, right = torch.linalg.svd(frames - frames.mean(0), full_matrices=False)
    features = ((frames - frames.mean(0)) @ right[:3].mT).numpy()
    exact = features.T @ features
    grams = []
    for seed in range(100):
        rows = subset.choose(lambda: frames.split(20), np.random.default_rng(seed))
        chosen = features[rows.index]
        grams.append((chosen.T * rows.weight) @ chosen * len(frames) / 12)
    mean, error = np.mean(grams, axis=0), np.std(grams, axis=0) / 100**0.5
    assert (np.abs(mean - exact) < 4.5 * error + 1e-9).all()
    assert len(left) == len(features)


def test_a_frame_is_described_by_the_leading_modes_of_the_candidates():
    seen = []

    class Looking(Fixed):
        def drawing(self, features):
            seen.append(features)
            return super().drawing(features)

    frames = torch.from_numpy(waves(samples=4).reshape(-1, 8))
    subset = SubsetSpec.model_construct(sampler=Looking(), count=5, features="pod", modes=2)
    subset.choose(lambda: frames.split(9), np.random.default_rng(0))
    U, singular, _ = torch.linalg.svd(frames - frames.mean(0), full_matrices=False)
    expected = (U * singular)[:, :2]
    signs = np.sign((seen[0] * expected.numpy()).sum(0))
    assert np.allclose(seen[0] * signs, expected, atol=1e-9)


def test_more_modes_than_the_frames_vary_in_are_refused():
    subset = SubsetSpec(count=5, modes=7)
    with pytest.raises(DataError, match="7 modes asked, but the frames vary in 6 directions; lower `modes`"):
        subset.choose(lambda: [torch.from_numpy(waves().reshape(-1, 8))], np.random.default_rng(0))


@pytest.mark.parametrize("frames_at_once", [5, 28, 1000])
def test_the_choice_of_runs_does_not_depend_on_memory(frames_at_once, monkeypatch):
    data = fields(waves(samples=5, times=12))
    chosen = {}
    for size in (10_000, frames_at_once):
        monkeypatch.setattr(batches, "BLOCK_BYTES", size * 8 * 4)
        runs = Runs(data, 4, "the data")
        SubsetSpec(sampler="greedy", count=9, modes=6).limit(
            runs, 2, runs.statistics(data.always_valid()), np.random.default_rng(3)
        )
        starts = [f[0, 0].tolist() for f in runs.batches(1)]
        assert runs.count == len(starts) == 9
        chosen[size] = sorted(starts)
    assert chosen[frames_at_once] == chosen[10_000]


def test_kept_runs_come_once_an_epoch_with_the_sum_of_their_weights():
    values = 100.0 * np.arange(3)[:, None, None] + np.arange(6)[:, None] + np.zeros(8)
    runs = Runs(fields(values, train=5).part("train"), 2, "the data")
    # 4 runs a sample: number 6 starts at sample 1, time 2.
    runs.keep(np.array([6, 11, 6, 0]), np.array([1.0, 0.5, 2.0, 0.5]))
    assert (runs.count, runs.num_batches(2)) == (3, 2)
    for seed in (None, 4):
        found = {}
        for frames, weights in runs.weighted_batches(2, seed=seed):
            assert torch.equal(frames[:, 1, 0, 0], frames[:, 0, 0, 0] + 1)
            found |= dict(zip(frames[:, 0, 0, 0].tolist(), weights.tolist(), strict=True))
        # A mean over 3 runs stands for a mean over the 4 that were named.
        assert found == {102.0: 3 * 0.75, 203.0: 0.5 * 0.75, 0.0: 0.5 * 0.75}


@pytest.mark.parametrize("loss", [RelativeL2Spec(), MeanSquaredErrorSpec(), H1Spec()])
def test_the_weighted_loss_is_that_of_runs_repeated_as_often_as_their_weights(loss, tmp_path: Path):
    data = fields(waves())
    training = TrainingSpec(loss=loss, rollout=2)
    subset = fixed(4, index=(2, 2, 2, 20))
    task = TrainingTask(TINY, training, data, subset=subset)
    trainer = Trainer(task, seed=0, device=CPU, scratch=tmp_path)
    (frames, weights), *rest = trainer.runs.weighted_batches(8)
    assert not rest
    assert weights.tolist() == [1.5, 0.5]
    with torch.no_grad():
        context = Context(2, False, 0.0, torch.Generator(), is_training=True)
        weighted = trainer.stepper._loss(0, frames, weights.float(), context)
        repeated = trainer.stepper._loss(0, frames[[0, 0, 0, 1]], None, context)
    assert float(weighted) == pytest.approx(float(repeated), rel=1e-6)


def test_an_objective_of_the_networks_own_is_weighted_run_by_run(tmp_path: Path):
    task = TrainingTask(TINY, TrainingSpec(), fields(waves()), subset=fixed(4, index=(2, 2, 2, 20)))
    trainer = Trainer(task, seed=0, device=CPU, scratch=tmp_path)
    (frames, weights), *_ = trainer.runs.weighted_batches(8)
    trainer.model.network.objective = lambda run, *_: run.square().mean().sqrt()
    context = Context(1, False, 0.0, torch.Generator(), is_training=True)
    loss = trainer.stepper._loss(0, frames, weights.float(), context)
    first, second = (float(run.square().mean().sqrt()) for run in frames)
    assert first != pytest.approx(second)
    assert float(loss) == pytest.approx((1.5 * first + 0.5 * second) / 2, rel=1e-6)


def test_training_on_all_runs_changes_no_bit_and_on_some_sees_no_other(tmp_path: Path):
    data, training = fields(waves()), TrainingSpec(epochs=2, batch_size=8)
    arguments = {"seed": 1, "device": CPU}
    full = train(TINY, training, data, scratch=tmp_path / "full", **arguments)
    every = train(TINY, training, data, scratch=tmp_path / "all", subset=fixed(39), **arguments)
    assert all(torch.equal(every.model.tensors()[n], t) for n, t in full.model.tensors().items())
    spoiled = waves()
    spoiled[2, 5:] *= 1.5
    few = fixed(26)
    limited = [
        Trainer(
            TrainingTask(TINY, training, fields(v), subset=few),
            seed=1,
            device=CPU,
            scratch=tmp_path / str(i),
        ).runs.batches(26)
        for i, v in enumerate((waves(), spoiled))
    ]
    assert torch.equal(*(next(runs) for runs in limited))


def test_a_network_learns_from_a_weighted_subset(tmp_path: Path):
    data = fields(waves(samples=8, times=10))
    subset = SubsetSpec(sampler="christoffel", count=30, modes=4)
    result = train(
        TINY,
        TrainingSpec(
            epochs=15, batch_size=10, micro_batch=5, optimizer={"kind": "adamw", "learning_rate": 0.02}
        ),
        data,
        seed=0,
        device=CPU,
        scratch=tmp_path,
        subset=subset,
    )
    losses = result.history["train_loss"]
    assert losses.iloc[-1] < 0.5 * losses.iloc[0]
    assert bool(torch.isfinite(result.model.noise_std()).all())


def test_faults_name_what_is_possible():
    info = fields(waves()).info
    assert list(SubsetSpec(count=39).faults(info, 2)) == []
    found = {
        problem.path: problem.message
        for subset in (
            SubsetSpec(count=40),
            SubsetSpec(count=10, modes=9),
            SubsetSpec(count=5, sampler="sobol"),
        )
        for problem in subset.faults(info, 2)
    }
    assert found[("count",)].startswith("40 is above 39, the runs of 2 frames")
    assert found[("modes",)].startswith("9 is above 8")
    assert "chooses no rows" in found[("sampler",)]
    assert [p.path for p in SubsetSpec(count=3, modes=5, sampler="dpp").faults(info, 2)] == [("count",)]
