"""Learned dynamical systems: data, models, assimilation and scores; usable from a notebook alone."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from koopcast.inference import Predictor

__version__ = "0.1.0"

if "OMP_WAIT_POLICY" not in os.environ:
    # A thread of torch that waits for another spins. For long, that takes the very core which the other needs
    # where more processes run than there are cores. Read once, when torch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")


def load(model: str | Path, store: str | Path = "runs") -> "Predictor":
    """Return a trained model by its address, ready to `predict` datasets; see `koopcast.inference.load`."""
    # Torch takes seconds to import, which a command that only looks does without.
    from koopcast.inference import load as load_model

    return load_model(model, store)
