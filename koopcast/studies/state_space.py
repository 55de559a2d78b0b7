"""Diagonal state-space models: what each way to diagonalise HiPPO costs, and what noise does to it."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from koopcast.koopman.ssm import PerturbationSpec
from koopcast.koopman.ssm_network import Initial, Recurrence
from koopcast.layers.state_space import convolved
from koopcast.numerics.hippo import hippo_legs, normal_part, perturbed, responses
from koopcast.progress import report
from koopcast.rng import torch_generator
from koopcast.studies.base import ALL, Findings, StudySpec

HIPPO, PTD, S4D, S5, DPLR = "hippo", "ptd", "s4d", "s5", "dplr"
BESIDE = 0.05
"""Distance of the frequencies that are tried beside each spike."""
LAYER = ("error", "increase", "passed")
TRAINED: dict[str, Initial] = {S4D: "s4d", PTD: "s4_ptd", DPLR: "dplr"}
"""Subject -> the recurrence that it trains."""
STEP, TIMES, SWELL = 0.02, 256, 64
"""Time step of the sequences, their records, and those until they have swollen."""
CHANNELS, BATCH, CASES = 8, 32, 200
MODES, HIGHEST = 8, 2.0
"""Waves of an input, and the highest angular frequency of them."""
RATE = 5e-3
NOISE = 0.1
"""Size of the sinusoid, relative to the input."""


class StateSpaceSpec(StudySpec):
    """Compares HiPPO-LegS (`hippo`) with its diagonal stand-ins: without the low-rank part (`s5`; `s4d` with
    half of the input), and perturbed, then diagonalised (`ptd`).

    Deviations are the largest |G(iω) - G_hippo(iω)| over outputs C of length 1, B having length 1, at the
    frequencies ω_k of the diagonal model and 0.05 beside them. Then one layer of each kind, `dplr` being
    HiPPO whole, is trained to a leaky mean of smooth sequences and is given sequences with a sinusoid of a
    tenth of their size at the highest ω_k, where the diagonal model has its largest spike. The layer has no
    direct path from input to output: that would pass the sinusoid whatever the recurrence does.
    """

    kind: Literal["state_space"] = "state_space"
    sizes: tuple[PositiveInt, ...] = Field((16, 32, 64, 128), min_length=1)
    """Orders n whose eigenvectors are judged."""
    searched: tuple[PositiveInt, ...] = Field((16, 32, 64), min_length=1)
    """Orders n for which a perturbation is searched."""
    perturbation: PerturbationSpec = PerturbationSpec()
    """How it is."""
    order: int = Field(16, ge=2, le=32, multiple_of=2)
    """Order of the layers that are trained."""
    steps: PositiveInt = 500
    """Steps of each training."""
    repetitions: PositiveInt = 5
    """Trainings of each kind, over which errors are averaged."""

    reference = "Yu, Nigmetov, Morozov, Mahoney and Erichson 2024, Robustifying state-space models, ICLR"

    def metrics(self) -> Mapping[str, str]:
        """Return κ of the eigenvectors; the deviation; the largest real part; the relative error of the
        trained layers without noise, what the sinusoid adds to that error, and how much of it is passed to
        the output, all relative to the target.
        """
        return dict.fromkeys(("condition", "deviation", "real_part", *LAYER), "1")

    def subjects(self) -> Mapping[str, Sequence[int]]:
        """Return what is compared, and its orders: those of trained layers are one, `<subject>_layer`."""
        layers: dict[str, Sequence[int]] = {f"{name}_layer": () for name in TRAINED}
        found = sorted(set(self.searched))
        return {HIPPO: sorted(set(self.sizes)), PTD: found, S4D: found, S5: found, **layers}

    def run(self, seed: int) -> Findings:
        """Diagonalise, compare, train."""
        scores: dict[str, dict[str, dict[str, float]]] = {name: {} for name in self.metrics()}
        for n in sorted(set(self.sizes)):
            vectors = np.linalg.eig(hippo_legs(n)[0])[1]
            scores["condition"].setdefault(HIPPO, {})[str(n)] = float(np.linalg.cond(vectors))
        for n in sorted(set(self.searched)):
            for metric, subjects in self.diagonal(n).items():
                for subject, value in subjects.items():
                    scores[metric].setdefault(subject, {})[str(n)] = value
        rows = []
        for repetition in range(self.repetitions):
            for name in TRAINED:
                row = {"subject": name, "repetition": repetition}
                rows.append({**row, **self.trained(name, seed, repetition)})
            report("training", repetition + 1, self.repetitions)
        table = pd.DataFrame(rows)
        for name in TRAINED:
            means = table.loc[table["subject"] == name, list(LAYER)].mean()
            for metric in LAYER:
                scores[metric][f"{name}_layer"] = {ALL: float(means[metric])}
        return Findings(scores, {"trainings": table})

    def diagonal(self, n: int) -> dict[str, dict[str, float]]:
        """Return conditions, deviations and real parts of the diagonal models of one order."""
        A, B = hippo_legs(n)
        B = B / np.linalg.norm(B)
        normal, found = normal_part(n), perturbed(n, self.perturbation.options(), self.perturbation.seed)
        spikes = normal.eigenvalues.imag
        s = 1j * np.concatenate([spikes, spikes + BESIDE, spikes - BESIDE])
        exact, dropped = responses(A, B, s), responses(A + normal.perturbation, B, s)
        ways = {S5: dropped, S4D: dropped / 2, PTD: responses(A + found.perturbation, B, s)}
        return {
            "deviation": {
                name: float(np.linalg.norm(response - exact, axis=1).max()) for name, response in ways.items()
            },
            "condition": {PTD: found.condition, S4D: normal.condition, S5: normal.condition},
            "real_part": {PTD: float(found.eigenvalues.real.max()), S4D: -0.5, S5: -0.5},
        }

    def trained(self, name: str, seed: int, repetition: int) -> dict[str, float]:
        """Return the relative error of a trained layer, what the sinusoid adds to it, and to the output."""
        weights = torch_generator(seed, self.kind, "weights", repetition)
        recurrence = Recurrence(
            TRAINED[name], self.order, (STEP, STEP), self.perturbation.options(), self.perturbation.seed
        )
        layer = recurrence.build(CHANNELS, weights)
        layer.D.requires_grad_(False).zero_()
        readout = nn.Parameter(torch.randn(CHANNELS, generator=weights) / CHANNELS**0.5)

        def predicted(u: Float[Tensor, "case time"]) -> Float[Tensor, "case time"]:
            y: Tensor = layer(u[..., None].expand(-1, -1, CHANNELS)) @ readout
            return y

        optimizer = torch.optim.Adam([p for p in (*layer.parameters(), readout) if p.requires_grad], lr=RATE)
        draws = torch_generator(seed, self.kind, "inputs", repetition)
        for step in range(self.steps):
            optimizer.param_groups[0]["lr"] = RATE * (1 - step / self.steps)
            u = smooth(BATCH, draws)
            optimizer.zero_grad()
            (predicted(u) - leaky_mean(u)).square().mean().backward()
            optimizer.step()
        with torch.no_grad():
            u = smooth(CASES, torch_generator(seed, self.kind, "cases"))
            y, time = leaky_mean(u), STEP * torch.arange(TIMES)
            spike = float(normal_part(self.order).eigenvalues.imag.max())
            noisy = u + NOISE * 2**0.5 * u.std() * torch.sin(spike * time + 1)
            results = [predicted(given) for given in (u, noisy)]
        size = y.std()
        clean, spoilt = (float((result - y).square().mean().sqrt() / size) for result in results)
        passed = float((results[1] - results[0]).square().mean().sqrt() / size)
        return {"error": clean, "increase": spoilt - clean, "passed": passed}


def smooth(count: int, generator: torch.Generator) -> Float[Tensor, "count time"]:
    """Draw sums of waves of random low frequencies, of unit variance, that swell from rest: a step at the
    start would hold all frequencies, those of the spikes too, and training would flatten these.
    """
    frequency = HIGHEST * torch.rand(count, MODES, 1, generator=generator)
    phase = 2 * math.pi * torch.rand(count, MODES, 1, generator=generator)
    size = torch.randn(count, MODES, 1, generator=generator) * (2 / MODES) ** 0.5
    waves: Tensor = size * torch.cos(frequency * STEP * torch.arange(TIMES) + phase)
    swell = torch.sin(math.pi / 2 * (torch.arange(TIMES) / SWELL).clamp(max=1)).square()
    return waves.sum(1) * swell


def leaky_mean(u: Float[Tensor, "count time"]) -> Float[Tensor, "count time"]:
    """Return Σ_l e^{-lδ} u_{t-l} δ."""
    kernel = STEP * torch.exp(-STEP * torch.arange(TIMES))
    y: Tensor = convolved(u[..., None], kernel[:, None])[..., 0]
    return y
