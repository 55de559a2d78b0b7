"""Options that variational methods share: the background covariance and the minimiser."""

from collections.abc import Iterator

from pydantic import Field, field_validator

from koopcast.assimilation.backgrounds import AnyBackground
from koopcast.assimilation.base import AnalysisSpec
from koopcast.assimilation.variational import Minimiser
from koopcast.grids import FieldsInfo
from koopcast.spec import Problem


class VariationalSpec(AnalysisSpec):
    """Options of a method that minimises a cost with a background term."""

    background: AnyBackground = Field(default="climatological", validate_default=True)
    """The covariance B of the error of the state before the analysis."""
    minimiser: Minimiser = Minimiser()
    """How the cost is minimised; one iteration is enough where everything is linear."""

    def needs_climatology(self) -> bool:
        """Return whether B does."""
        return self.background.needs_climatology()

    def needs_physical_state(self) -> bool:
        """Return whether B does."""
        return self.background.needs_physical_state()

    def needs_derivatives(self) -> bool:
        """Return True."""
        return True

    def check(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Pass on what B refuses."""
        yield from (problem.below("background") for problem in self.background.check(fields))


class SingleStateSpec(VariationalSpec):
    """Options of such a method for one state."""

    @field_validator("background")
    @classmethod
    def _is_static(cls, background: AnyBackground) -> AnyBackground:
        if background.needs_ensemble():
            raise ValueError(
                f"'{background.kind}' is estimated from an ensemble, and this method has a single state; "
                "choose another, or method `envar`"
            )
        return background

    def num_members(self) -> int:
        """Return 1."""
        return 1
