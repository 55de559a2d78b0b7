"""Refinements side by side: errors, residual norms, how one ranks as the other, and the time it takes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd
from jaxtyping import Float
from scipy.stats import spearmanr
from torch import Tensor

from koopcast.errors import ShapeMismatch
from koopcast.refinement.base import Equation, Prediction, RefinementSpec
from koopcast.refinement.residual import DUAL, Residual, relative_errors

UNITS = {
    "rel_l2": "1",
    "residual_dual_norm": "1",
    "residual_l2_norm": "1",
    "rank_correlation": "1",
    "rank_correlation_l2": "1",
    "seconds": "s",
}
"""Mean over cases of ‖frames - truth‖ / ‖truth‖; of the residual norms of orders -1 and 0; Spearman's rank
correlation over the cases between these norms and the root mean square error; seconds a case (of `training`:
all of it)."""
PREDICTED, TRAINING = "predicted", "training"
Scores = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Comparison:
    """Scores (metric -> subject -> value), refined frames of each method, and their histories with a column
    `method`.
    """

    scores: Scores
    frames: Mapping[str, Float[Tensor, "case frame *space channel"]]
    history: pd.DataFrame


def compare(
    prediction: Prediction, equation: Equation, methods: Mapping[str, RefinementSpec], training_seconds: float
) -> Comparison:
    """Refine a prediction by each method and score what comes out beside it.

    Raises:
        ShapeMismatch: The prediction has no truth.
    """
    if prediction.truth is None:
        raise ShapeMismatch("scores need the records that were predicted", "give data that hold them")
    scores: Scores = {metric: {} for metric in UNITS}
    scores["seconds"][TRAINING] = training_seconds
    _score(scores, PREDICTED, prediction.frames, prediction, Residual(equation))
    frames: dict[str, Tensor] = {}
    histories = [pd.DataFrame()]
    for name, method in methods.items():
        refined = method.refine(prediction, equation)
        frames[name] = refined.frames
        histories.append(refined.history.assign(method=name))
        _score(scores, name, refined.frames, prediction, Residual(equation))
        scores["seconds"][name] = float(refined.history.groupby("case")["seconds"].max().mean())
    return Comparison(scores, frames, pd.concat(histories, ignore_index=True))


def _score(
    scores: Scores,
    subject: str,
    frames: Float[Tensor, "case frame *space channel"],
    prediction: Prediction,
    residual: Residual,
) -> None:
    assert prediction.truth is not None
    v = residual.coefficients(prediction.start, frames)
    dual, plain = residual.norms(v, DUAL), residual.norms(v, 0.0)
    error = (frames - prediction.truth).flatten(1).square().mean(1).sqrt()
    scores["rel_l2"][subject] = float(relative_errors(frames, prediction.truth).mean())
    scores["residual_dual_norm"][subject], scores["residual_l2_norm"][subject] = (
        float(norms.mean()) for norms in (dual, plain)
    )
    for metric, norms in (("rank_correlation", dual), ("rank_correlation_l2", plain)):
        if len(error) > 2:
            scores[metric][subject] = float(spearmanr(norms.numpy(), error.numpy()).statistic)


def subjects(methods: Mapping[str, RefinementSpec]) -> Iterator[str]:
    """Yield what is scored: the prediction, the methods, and the training, whose time alone is."""
    yield from (PREDICTED, *methods, TRAINING)
