"""A learned observer: prediction and data assimilation in one recursion."""

from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator

from koopcast.mapping import Signature
from koopcast.observations.synthetic import ObservationError
from koopcast.operators.base import OperatorSpec
from koopcast.operators.fno_network import FNO, Architecture
from koopcast.operators.noda_gain import GainChoice, GainForm, gain_network, quiet
from koopcast.operators.noda_network import Aims, NODANetwork
from koopcast.operators.noda_windows import Drawing
from koopcast.spec import Problem, Spec

Layers = Annotated[int, Field(ge=1, le=16)]
Probability = Annotated[float, Field(ge=0, le=1)]
Range = tuple[float, float]
MAX_AXES = 3
JOINT_SHARE = 0.1
"""Weight of the windows' gradient in the predictor, where they move it."""


class PredictorSpec(Spec):
    """Sizes of the predictor, a Fourier neural operator."""

    modes: PositiveInt = 32
    """Kept Fourier modes of each axis, both signs counted; at most half the points."""
    width: PositiveInt = 24
    """Channels inside."""
    layers: Layers = 3
    """Blocks."""


class GainSpec(Spec):
    """The gain, which turns an innovation e at the points of the mask m into a correction of the forecast x.

    Every form holds a learned number κ a variable, from which training sets out: nudging.
    """

    form: GainForm = "free"
    """`free`: κ e + N(x, e, m) with a Fourier neural operator N; `odd`: κ e + N(x, e, m) - N(x, 0, m), 0 at
    e = 0; `linear`: κ e + Σ_j α_j(x, m) S_j e with learned linear operators S_j and state-dependent
    multipliers; `static`: κ e."""
    modes: PositiveInt = 32
    """Kept Fourier modes of each axis; not below those of the predictor, or errors grow in scales that the
    gain does not see."""
    width: PositiveInt = 12
    """Channels inside."""
    layers: Layers = 2
    """Blocks."""
    terms: PositiveInt = 4
    """Number J of linear operators of the form `linear`."""
    kappa: float = Field(0.5, gt=0, le=1)
    """Value of κ at the start."""


class NODASpec(OperatorSpec):
    """Forecasts with a residual Fourier neural operator, and corrects each forecast with a learned gain where
    there are measurements: x_k = x⁻_k + K(x⁻_k)[m_k (y_k - E(x⁻_k))], x⁻_k = x_{k-1} + P(x_{k-1}).

    Without a measurement it is the predictor alone. It is trained on windows of records with measurements
    drawn anew: the predictor on pairs of records all along, the gain through windows from `pretrain` on.
    """

    kind: Literal["noda"] = "noda"
    predictor: PredictorSpec = PredictorSpec()
    """What forecasts."""
    gain: GainSpec = GainSpec()
    """What corrects."""
    observation_operator: Literal["known", "learned"] = "known"
    """E: the state at the measured points, or a network that learns what an instrument reports there."""
    window: PositiveInt = 20
    """Records T of a training window; at least twice the longest gap between measurements."""
    warmup: PositiveInt = 4
    """Records at the start of a window that are all measured."""
    p_observe: Probability | tuple[Probability, Probability] = (0.12, 0.3)
    """Probability of a measurement at each later record, or the range that each window draws its own from."""
    randomize_mask: bool = True
    """Measure everywhere in half of the windows, on a sub-grid in a quarter and at random points in another;
    else everywhere."""
    noise: ObservationError = ObservationError(snr_db=20)
    """Error of the measurements."""
    randomize_noise: Range | None = None
    """Range in decibels, signal to noise, that each window draws its own error from, instead of `noise`."""
    start_std: NonNegativeFloat = 0.3
    """Half of the windows start at the mean of the training data, half at the truth plus noise of this size,
    in units of each variable's spread."""
    pretrain: float = Field(0.5, ge=0, lt=1)
    """Share of the training that goes to the predictor alone."""
    pairs: PositiveInt = 4
    """Pairs of records of each window that the predictor learns from in a step."""
    positional: Literal["grid", "none"] = "grid"
    """`grid`: coordinates are extra input channels; `none`: where a law is the same at each place."""
    input_noise: NonNegativeFloat = 0.01
    """Noise on the first record of a pair, in units of each variable's spread."""
    freeze_predictor: bool = True
    """The windows leave the predictor alone; else they move it too, with a tenth of their gradient."""
    supervision: Literal["truth", "measurements"] = "truth"
    """Whether windows are compared with the records, or with their noisy measurements alone."""
    measurement_weight: NonNegativeFloat = 0.1
    """Weight λ of the analyses' departure from the measurements."""
    forecast_weight: NonNegativeFloat = 0.5
    """Weight μ of the error of the forecasts between the analyses."""

    has_correction = True
    learns_maps = False

    reference = (
        "Singh, Borsoi, Erdogmus and Imbiriba 2024; sizes, weights and the recipe of the windows are our own,"
        " and every gain holds a nudging term"
    )

    @model_validator(mode="after")
    def _windows_hold_a_recursion(self) -> "NODASpec":
        if self.warmup >= self.window:
            raise ValueError(f"warmup: {self.warmup} is not below window {self.window}; lower warmup")
        for name, ordered in (
            ("p_observe", self._probabilities()),
            ("randomize_noise", self.randomize_noise),
        ):
            if ordered is not None and ordered[0] > ordered[1]:
                raise ValueError(f"{name}: {ordered[0]} is above {ordered[1]}; give the lower end first")
        if self.gain.modes < self.predictor.modes:
            raise ValueError(
                f"gain.modes: {self.gain.modes} is below predictor.modes {self.predictor.modes}: errors grow "
                "in scales that the gain does not see; raise it"
            )
        return self

    def _probabilities(self) -> tuple[float, float]:
        return self.p_observe if isinstance(self.p_observe, tuple) else (self.p_observe, self.p_observe)

    def faults(self, signature: Signature) -> Iterator[Problem]:
        """Refuse a history, fields that are not normalised, and modes that the grid does not hold."""
        yield from super().faults(signature)
        if self.history != 1:
            yield Problem(
                ("history",), f"the recursion carries one record, not {self.history}; remove history"
            )
        if self.normalize_input != "channel":
            yield Problem(("normalize_input",), "errors are in units of each variable's spread; use channel")
        if not 1 <= len(signature.axes) <= MAX_AXES:
            yield Problem((), f"{len(signature.axes)} space axes; noda takes 1 to {MAX_AXES}")
            return
        limit = max(1, min(signature.shape) // 2)
        for name, modes in (("predictor", self.predictor.modes), ("gain", self.gain.modes)):
            if modes > limit:
                yield Problem(
                    (name, "modes"),
                    f"{modes} is above {limit}, the Nyquist limit of grid {signature.shape}; lower modes",
                )

    def num_frames(self, signature: Signature, rollout: int) -> int:
        """Return the records of a window: the first state and those that are measured."""
        return self.window + 1

    def build(self, signature: Signature, generator: torch.Generator) -> NODANetwork:
        """Return the untrained predictor, gain and observation operator."""
        sizes = self._architecture(signature, self.gain)
        choice = GainChoice(self.gain.form, sizes, self.gain.terms, self.gain.kappa)
        predictor = FNO(self._architecture(signature, self.predictor), generator)
        gain = gain_network(choice, generator)
        is_learned = self.observation_operator == "learned"
        operator = quiet(FNO(sizes, generator)) if is_learned else None
        return NODANetwork(predictor, gain, operator, self._aims())

    def _architecture(self, signature: Signature, sizes: PredictorSpec | GainSpec) -> Architecture:
        return Architecture(
            channels_in=len(signature.inputs),
            channels_out=len(signature.outputs),
            modes=(sizes.modes,) * len(signature.axes),
            periodic=tuple(axis.periodic for axis in signature.axes),
            width=sizes.width,
            layers=sizes.layers,
            positional=self.positional,
        )

    def _aims(self) -> Aims:
        levels = (self.noise, self.noise)
        if self.randomize_noise is not None:
            low, high = (ObservationError(snr_db=decibels) for decibels in self.randomize_noise)
            levels = (low, high)
        return Aims(
            drawing=Drawing(self.warmup, self._probabilities(), levels, self.randomize_mask, self.start_std),
            pretrain=self.pretrain,
            pairs=self.pairs,
            input_noise=self.input_noise,
            predictor_share=0.0 if self.freeze_predictor else JOINT_SHARE,
            has_truth=self.supervision == "truth",
            measurement_weight=self.measurement_weight,
            forecast_weight=self.forecast_weight,
        )
