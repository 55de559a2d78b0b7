"""Training of a network to remove noise from fields: stages of losses, resumable bit for bit."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.checkpoints import Checkpoint, Checkpoints, flattened, grouped
from koopcast.errors import Diverged
from koopcast.priors.convex import ConvexNetwork
from koopcast.progress import report
from koopcast.rng import torch_generator

Draw = Callable[[int, torch.Generator], Tensor]
"""(count, generator) -> clean fields "batch channel *space", normalised."""
Loss = Literal["pm", "l2", "l1"]
ROW_STEPS, CHECKPOINT_STEPS = 50, 500
"""Steps from one row of the table to the next, and from one checkpoint to the next."""


@dataclass(frozen=True)
class Stage:
    """Some steps with one loss."""

    loss: Loss
    gamma: float
    """Width of proximal matching, root mean square over the values of a field."""
    steps: int
    rate: float
    """The learning rate at the start; it falls to 0 by half a cosine."""

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step of the stage."""
        return 0.5 * self.rate * (1 + math.cos(math.pi * step / self.steps))


def departure(loss: Loss, residual: Float[Tensor, "batch channel *space"], gamma: float) -> Float[Tensor, ""]:
    """Return the mean of |r|, of r², or of 1 - exp(-|r|² / (n γ²)) over fields of n values."""
    if loss == "l1":
        return residual.abs().mean()
    squares = residual.flatten(1).square().mean(dim=1)
    return squares.mean() if loss == "l2" else (1 - torch.exp(-squares / gamma**2)).mean()


def learned(
    network: ConvexNetwork,
    draw: Draw,
    stages: Sequence[Stage],
    sigma: float,
    batch: int,
    seed: int,
    *,
    scratch: Path | None,
    identity: str,
) -> pd.DataFrame:
    """Train a network in place to return x from x + σ v, v standard normal; weights stay in their cone.

    Returns:
        The table `step, loss, error, learning_rate`; `error` is the root mean square of f(y) - x.

    Raises:
        Diverged: The loss is no longer finite.
    """
    training = _Training(network, torch_generator(seed, "fields"))
    checkpoints = None if scratch is None else Checkpoints(scratch, identity)
    if checkpoints is not None and (found := checkpoints.latest()) is not None:
        training.restore(found)
    plan = [(stage, step) for stage in stages for step in range(stage.steps)]
    for number in range(training.done, len(plan)):
        stage, step = plan[number]
        rate = stage.rate_at(step)
        loss, error = training.step(draw, stage, sigma, batch, rate)
        if not math.isfinite(loss):
            raise Diverged(
                f"the loss became {loss} at step {number + 1} of {len(plan)}, learning rate {rate:.3g}",
                "lower learning_rate, or widen gamma_schedule",
            )
        if training.done % ROW_STEPS == 0 or training.done == len(plan):
            row = {"step": training.done, "loss": loss, "error": error, "learning_rate": rate}
            training.rows.append(row)
            report("step", training.done, len(plan), loss=loss, error=error)
        if checkpoints is not None and training.done % CHECKPOINT_STEPS == 0:
            checkpoints.save(training.done, training.checkpoint())
    return pd.DataFrame(training.rows, columns=["step", "loss", "error", "learning_rate"])


class _Training:
    """A network, its optimizer, its stream of random numbers, and how far it came."""

    def __init__(self, network: ConvexNetwork, generator: torch.Generator) -> None:
        self.network, self.generator = network, generator
        self.optimizer = torch.optim.Adam(network.parameters())
        self.done = 0
        self.rows: list[dict[str, float | int]] = []

    def step(self, draw: Draw, stage: Stage, sigma: float, batch: int, rate: float) -> tuple[float, float]:
        """Make a step; return the loss and the error before it."""
        x = draw(batch, self.generator)
        y = x + sigma * torch.randn(x.shape, generator=self.generator)
        residual = self.network(y) - x
        loss = departure(stage.loss, residual, stage.gamma)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.network.project()
        self.done += 1
        return float(loss.detach()), float(residual.detach().square().mean().sqrt())

    def checkpoint(self) -> Checkpoint:
        """Return all that later steps depend on."""
        moments = flattened(
            {str(index): value for index, value in self.optimizer.state_dict()["state"].items()}
        )
        stream = {"state": self.generator.get_state()}
        groups = {"weights": self.network.state_dict(), "moments": moments, "stream": stream}
        return Checkpoint(flattened(groups), {"done": self.done, "rows": self.rows})

    def restore(self, found: Checkpoint) -> None:
        """Go on from a checkpoint."""
        groups = grouped(found.tensors)
        self.network.load_state_dict(groups["weights"])
        moments = {int(index): value for index, value in grouped(groups["moments"]).items()}
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})
        self.generator.set_state(groups["stream"]["state"])
        self.done, self.rows = found.facts["done"], found.facts["rows"]
