"""The flow itself, where it is known."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from koopcast.dynamics import Flow, Form, Problem, Stepper
from koopcast.errors import ShapeMismatch
from koopcast.integrators.base import IntegratorSpec


class ExactSpec(IntegratorSpec):
    """The map over a time in closed form: of systems that have one."""

    kind: Literal["exact"] = "exact"

    reference = "nothing is discretised: the system states its own solution"
    order = 1
    """No step is too long, so no step is ever chosen by it."""

    def build(self, problem: Problem, dt: float) -> Stepper:
        """Return the map over `dt`."""
        if not isinstance(problem, Flow):
            raise ShapeMismatch(
                "exact takes systems whose solution is known in closed form; this one's is not",
                "leave `integrator` to the system",
            )
        advance = problem.advance

        def step(state: Float[Tensor, "*batch state"]) -> Float[Tensor, "*batch state"]:
            return advance(state, dt)

        return step

    def takes(self, form: Form) -> bool:
        """Return whether the problem is a flow."""
        return form == "flow"
