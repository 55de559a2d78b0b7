"""The covariance of differences between forecasts valid at the same time."""

from typing import Literal

import torch
from pydantic import PositiveFloat, PositiveInt, model_validator

from koopcast.assimilation.backgrounds.base import Background, BackgroundSpec, climatology_of, factor_of
from koopcast.assimilation.base import Setting
from koopcast.errors import EmptySelection
from koopcast.numerics.arrays import normal


class NMCSpec(BackgroundSpec):
    """B = factor / 2 times the covariance of a long forecast less a short one, valid at the same time.

    Forecasts start from training states with independent errors, as analyses have.
    """

    kind: Literal["nmc"] = "nmc"
    long: PositiveInt = 8
    """Records of the long forecast."""
    short: PositiveInt = 4
    """Records of the short one."""
    pairs: PositiveInt = 500
    """Pairs of forecasts."""
    start_error: PositiveFloat = 0.1
    """Standard deviation of the errors at the start, as a share of the climatological one."""
    factor: PositiveFloat = 1.0
    """Factor on B."""
    seed: int = 0
    """Of the errors at the start."""

    reference = "Parrish and Derber 1992; analyses are training states with errors drawn"

    @model_validator(mode="after")
    def _is_longer(self) -> "NMCSpec":
        if self.short >= self.long:
            raise ValueError(f"short: {self.short} is not below long, {self.long}; lower it")
        return self

    def build(self, setting: Setting) -> Background:
        """Run the pairs through the model.

        Raises:
            EmptySelection: The setting holds no model or no climatology.
        """
        states = climatology_of(setting, self.kind).states
        if setting.step is None:
            raise EmptySelection("the background 'nmc' needs a forecast model", "use `climatological`")
        generator = torch.Generator(device=states.device).manual_seed(self.seed)
        size = self.start_error * states.std(dim=0)
        chosen = torch.linspace(0, len(states) - 1, self.pairs, device=states.device).round().long()
        early = states[chosen][None]
        late = early
        for _ in range(self.long - self.short):
            late = setting.step(late)
        early, late = (start + size * normal(*start.shape, generator=generator) for start in (early, late))
        for _ in range(self.long):
            early = setting.step(early)
        for _ in range(self.short):
            late = setting.step(late)
        differences = (early - late)[0]
        differences = differences - differences.mean(dim=0)
        covariance = factor_of(differences * (self.factor / (2 * max(1, self.pairs - 1))) ** 0.5)
        return lambda ensemble: covariance

    def needs_climatology(self) -> bool:
        """Return True."""
        return True
