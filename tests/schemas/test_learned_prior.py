"""A step that learns a prior, and the step that uses it: what fits together, and what is refused."""

from pathlib import Path

import pytest

from schemas.faults import PipelineInvalid
from schemas.pipeline import load
from schemas.references import Prior

PIPELINE = """\
name: priors
steps:
  ks: &ks
    task: generate
    system: kuramoto_sivashinsky
    samples: 4
    steps: 6
    split: {sample: {train: 2, test: 2}}
  wide: {<<: *ks, system: {kind: kuramoto_sivashinsky, points: 128}}
  learned: {task: learn_prior, data: ks, prior: lpn}
  far: {task: learn_prior, data: wide, prior: lpn}
"""
ANALYSIS = "task: assimilate, model: ks.system, data: ks.test, observations: synthetic"
FAULTS = [
    (
        "task: learn_prior, data: ks, prior: {kind: lpn, gamma_schedule: [1, 2]}",
        "steps.step.prior.gamma_schedule: 2 follows 1; widths must decrease",
    ),
    (f"{ANALYSIS}, method: var_pnp", "steps.step.method: 'var_pnp' needs a learned prior; name a step"),
    (
        f"{ANALYSIS}, method: var_pnp, prior: ks.system",
        "steps.step.prior: 'ks.system' is a model, expected a prior; name one of: learned, far",
    ),
    (f"{ANALYSIS}, method: var_pnp, prior: leaned", "there is no step 'leaned'; did you mean 'learned'?"),
    (
        f"{ANALYSIS}, method: var_pnp, prior: far",
        "steps.step.prior: 'far' was learned of u on (128,), the data hold u on (64,); learn a prior of such",
    ),
    (f"{ANALYSIS}, method: etkf, prior: learned", "steps.step.prior: 'etkf' uses no prior; remove it"),
    ("task: evaluate, of: [learned]", "'learned' is a prior, expected a model or an analysis"),
]


def test_a_prior_is_a_kind_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "priors.yaml"
    file.write_text(PIPELINE + f"  step: {{{ANALYSIS}, method: var_pnp, prior: learned}}\n")
    assert load(file).pipeline.steps["learned"].yields is Prior


@pytest.mark.parametrize(("step", "message"), FAULTS)
def test_what_does_not_fit_is_refused(tmp_path: Path, step: str, message: str) -> None:
    file = tmp_path / "faults.yaml"
    file.write_text(PIPELINE + f"  step: {{{step}}}\n")
    with pytest.raises(PipelineInvalid) as caught:
        load(file)
    assert message in str(caught.value)
