"""The study of gradient policies: counts, and what autograd keeps."""

from koopcast.studies.optics import METRICS, OpticsSpec


def test_counts_follow_their_formulas_and_autograd_keeps_the_stages():
    findings = OpticsSpec(lengths=(8, 16), points=6).run(seed=1)
    scores = findings.scores
    assert set(scores) == set(METRICS)
    assert scores["forward_steps"]["recompute"] == {"8": 8 + 28, "16": 16 + 120}
    # Segments of 3, 3 and 2; of 4.
    assert scores["peak_states"]["checkpoint"] == {"8": 5, "16": 8}
    assert scores["pulled_steps"]["stages"]["16"] == 0
    assert max(value for by in scores["mismatch"].values() for value in by.values()) < 1e-13
    # Each of four stages of a step keeps at least the state that its product needs.
    assert scores["peak_states"]["autograd"]["16"] >= 4 * 16
    # (36 + 8) and (136 + 16) steps: the slope of their logarithms.
    assert abs(scores["exponent"]["recompute"]["16"] - 1.788) < 1e-3
