"""Keep every state."""

from typing import Literal

from torch import Tensor

from koopcast.gradients.base import KeepingSpec, Tape


class StoreSpec(KeepingSpec):
    """Every state is kept: n steps forward, n + 1 states."""

    kind: Literal["store"] = "store"

    reference = "Gavranovic 2022: optics that keep a residual"

    def backward(self, tape: Tape, x: Tensor) -> Tensor:
        """Go forward once, and back over what was kept."""
        return over_segment(tape, x, (0, tape.count), None, self.residual)


def over_segment(
    tape: Tape, x: Tensor, steps: tuple[int, int], adjoint: Tensor | None, residual: str
) -> Tensor:
    """Return λ at the start of a segment all of whose states, or stages, are kept.

    Without an adjoint at its end the segment is the last: it is then run to its end, which makes λ_n.
    """
    if residual == "stages":
        return _over_stages(tape, x, steps, adjoint)
    start, stop = steps
    tickets = []
    for k in range(start, stop):
        tickets.append(tape.keep(x))
        if adjoint is None or k + 1 < stop:
            x = tape.advance(x, k, 1)
    adjoint = tape.seed(stop, x) if adjoint is None else adjoint
    for k in reversed(range(start, stop)):
        adjoint = tape.pull(k, tape.take(tickets.pop()), adjoint)
    return adjoint


def _over_stages(tape: Tape, x: Tensor, steps: tuple[int, int], adjoint: Tensor | None) -> Tensor:
    start, stop = steps
    links = []
    for k in range(start, stop):
        links.append(tape.link(k, x))
        x = links[-1][1].detach()
    adjoint = tape.seed(stop, x) if adjoint is None else adjoint
    for k in reversed(range(start, stop)):
        adjoint = tape.unlink(k, links.pop(), adjoint)
    return adjoint
