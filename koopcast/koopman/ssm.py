"""State-space models as latent dynamics, initialised from a matrix that is perturbed, then diagonalised."""

from collections.abc import Iterator, Mapping
from typing import Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from koopcast.errors import InvalidInput
from koopcast.koopman.latent import LatentSpec
from koopcast.koopman.ssm_network import Initial, Mode, Recurrence, SSMNetwork
from koopcast.layers.state_space import Slots
from koopcast.mapping import Signature
from koopcast.numerics.hippo import Perturbation, perturbed
from koopcast.spec import Problem, Spec

FORMS: dict[str, tuple[Initial, ...]] = {"s4": ("dplr", "s4d", "s4_ptd"), "s5": ("s5", "s5_ptd")}
"""Variant -> the initial recurrences that it takes."""
MOST_DENSE = 128


class PerturbationSpec(Spec):
    """How the HiPPO matrix is perturbed before it is diagonalised."""

    relative: float = Field(0.1, gt=0, le=1)
    """Share of the matrix's low-rank part at which the search begins; without `optimise` the size of a random
    perturbation in units of the matrix."""
    optimise: bool = True
    """Search for the E that makes κ(V) + γ‖E‖ small with all eigenvalues of A + E = V Λ V⁻¹ well in the left
    half-plane; a random one often has some in the right, and is then refused."""
    steps: PositiveInt = 400
    """Steps of the search; one costs an eigendecomposition."""
    gamma: PositiveFloat = 1.0
    """Weight γ of the size of E."""
    stability_margin: PositiveFloat = 0.4
    """Real parts above its negative are penalised."""
    seed: NonNegativeInt = 0
    """Of the random part: equal numbers give equal perturbations."""

    def options(self) -> Perturbation:
        """Return the options without the seed."""
        return Perturbation(**self.model_dump(exclude={"seed"}))


class SSMSpec(LatentSpec):
    """Layers of linear recurrences x' = Λ x + B u, y = Re(C x) + D u with pointwise mixing between them: each
    sees all records before, the next frame is the last one and what the layers add to it.

    Training sees windows of records as sequences; in use the model carries hidden states and takes O(n) a
    step. A state is the frame and the hidden states: assimilation corrects both.
    """

    kind: Literal["ssm"] = "ssm"
    history: PositiveInt = 16
    """Consecutive frames from which the hidden states of a forecast are made."""
    variant: Literal["s4", "s5"] = "s5"
    """`s4`: a system a channel; `s5`: one system of all channels."""
    init: Initial = "s5_ptd"
    """First Λ, B and C from HiPPO-LegS. `s4d`, `s5`: its low-rank part is dropped; `s4_ptd`, `s5_ptd`: it is
    perturbed, then diagonalised; `dplr`: it is kept whole, for states up to 128."""
    state_dim: int = Field(32, ge=2, le=1024, multiple_of=2)
    """Order n of a system, an even number."""
    model_dim: PositiveInt = Field(32, le=4096)
    """Channels between the layers."""
    layers: PositiveInt = Field(2, le=12)
    """Layers."""
    dt_min: PositiveFloat = 1e-3
    """Least first step δ of a recurrence, in records."""
    dt_max: PositiveFloat = 1e-1
    """Largest first step δ; steps are log-uniform."""
    perturbation: PerturbationSpec | None = None
    """Of `s4_ptd` and `s5_ptd` alone; default: the options of `PerturbationSpec`."""
    mode: Mode = "convolution"
    """How training computes a window: all times at once by Fourier transforms, or one after another. Results
    agree to rounding."""
    window: PositiveInt = 32
    """Frames that a training window predicts, each from the records before it."""
    rollout_steps: PositiveInt = 1
    """Steps of a forecast from the end of each window, made as in use: from `history` records, then from its
    own frames. 1: none; with more the loss is that of the window plus the mean over these steps."""

    reference = (
        "Yu, Nigmetov, Morozov, Mahoney and Erichson 2024, Robustifying state-space models, ICLR; S4: Gu et "
        "al. 2022; S5: Smith et al. 2023, here by Fourier transforms instead of a scan"
    )

    @model_validator(mode="after")
    def _options_agree(self) -> "SSMSpec":
        if self.init not in FORMS[self.variant]:
            known = ", ".join(FORMS[self.variant])
            raise ValueError(f"init: '{self.init}' is not of variant '{self.variant}' (known: {known})")
        if self.dt_min >= self.dt_max:
            raise ValueError(f"dt_min: {self.dt_min:g} is not below dt_max {self.dt_max:g}; lower it")
        if self.perturbation is not None and not self.init.endswith("ptd"):
            raise ValueError(
                f"perturbation: '{self.init}' perturbs nothing; remove it, or use {self.variant}_ptd"
            )
        if self.init == "dplr" and self.state_dim > MOST_DENSE:
            raise ValueError(
                f"state_dim: {self.state_dim} is above {MOST_DENSE}, the limit of dplr; lower it"
            )
        return self

    def num_frames(self, signature: Signature, rollout: int) -> int:
        """Return the records of a window."""
        return self.window + self.rollout_steps

    def faults(self, signature: Signature) -> Iterator[Problem]:
        """Refuse windows that are shorter than the past of a forecast."""
        yield from super().faults(signature)
        if self.window < self.history:
            yield Problem(
                ("window",),
                f"{self.window} is below history {self.history}, and hidden states would be asked for a past "
                "that they never saw; raise window or lower history",
            )
        if self.perturbation is not None and not self.perturbation.optimise:
            try:
                perturbed(self.state_dim, self.perturbation.options(), self.perturbation.seed)
            except InvalidInput as error:
                yield Problem(("perturbation",), str(error).removeprefix("perturbation: "))

    def build(self, signature: Signature, generator: torch.Generator) -> SSMNetwork:
        """Return the untrained network."""
        return self._network(signature, generator, None)

    def blank(self, signature: Signature, tensors: Mapping[str, Tensor]) -> SSMNetwork:
        """Return a network of the same shapes as its tensors, without a search for a perturbation."""
        size = tensors["network.blocks.0.recurrence.decay"].shape[-1]
        return self._network(signature, torch.Generator(), Slots.blank(self.state_dim, size))

    def _network(self, signature: Signature, generator: torch.Generator, known: Slots | None) -> SSMNetwork:
        chosen = self.perturbation or PerturbationSpec()
        steps = (self.dt_min, self.dt_max)
        recurrence = Recurrence(self.init, self.state_dim, steps, chosen.options(), chosen.seed, known)
        shape = (*signature.shape, len(signature.outputs))
        network = SSMNetwork(shape, self.model_dim, self.layers, recurrence, self.mode, generator)
        network.history, network.rollout_steps = self.history, self.rollout_steps
        return network
