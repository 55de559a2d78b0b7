"""Stacks of blocks: forms, the laws of each block, kernels, streams, and the cycle."""

import math

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from koopcast.assimilation import AnyAnalysis, records
from koopcast.assimilation.blocks import AnyBlock, Form, Population, Session, order_faults, run_stack
from koopcast.assimilation.blocks.mh import MHSpec
from koopcast.assimilation.cycle import CycleState, run
from koopcast.assimilation.records import joined
from koopcast.studies.evidence_of_stacks import EvidenceOfStacksSpec, ForgetfulRound, LinearGaussian
from tests.koopcast.assimilation.test_cycle import TRUTH, cycle, experiment, seeded, start

BLOCKS = TypeAdapter(tuple[AnyBlock, ...])
SMC = ["advance", "score", "resample"]
MODEL = LinearGaussian(0.8, 0.4, 0.5, torch.tensor([0.3, -1.2, 0.9, 2.0]).double())


def blocks(*steps):
    return BLOCKS.validate_python(steps)


def session(members=6, batch=3, seed=1, program=MODEL):
    return Session(program, members, batch, seed)


def looped(*steps):
    return blocks("spawn", {"kind": "hoist", "steps": list(steps)})


def faults(*steps, start=Form.START, times=None):
    return [(problem.path, problem.message) for problem in order_faults(blocks(*steps), start, times)]


BAD = [
    (
        ["score"],
        0,
        "`score` takes particles at an observation that is not scored, and is given particles that",
    ),
    (["resample", "advance", "score"], 0, "`resample` takes weighted particles"),
    (["advance", "resample", "score"], 1, "is given particles at an observation that is not scored"),
    (["advance", "mh", "score"], 1, "`mh` takes weighted particles with every observation scored"),
    (["mh", "advance", "score"], 0, "is given particles that have met no observation"),
    (["advance", "score", "score"], 2, "`score` takes particles at an observation"),
    (
        ["advance", "advance", "score"],
        1,
        "`advance` takes particles that have met no observation or weighted",
    ),
    (["advance", "score", "collapse", "resample"], 3, "is given a single particle"),
    (["advance", "score", "spawn"], 2, "`spawn` takes a sampler"),
    (["advance"], 0, "the last block leaves particles at an observation that is not scored"),
]


@pytest.mark.parametrize(("steps", "place", "message"), BAD)
def test_an_order_that_is_not_valid_is_refused_at_the_block_to_blame(steps, place, message):
    ((path, found),) = faults(*steps)
    assert path == (place,)
    assert message in found


def test_orders_of_loops_are_checked_round_by_round():
    assert not faults({"kind": "hoist", "steps": SMC}, "mh")
    assert faults({"kind": "hoist", "steps": ["advance", "resample"]})[0][0] == (0, "steps", 1)
    # The first round could start so, the second could not: the particles are scored by then.
    assert "a round has 2 blocks" in faults({"kind": "hoist", "steps": [*SMC, *SMC]})[0][1]
    assert faults(*SMC, start=Form.SAMPLER)[0][0] == (0,)
    assert not faults("spawn", *SMC, start=Form.SAMPLER)


def test_blocks_reach_every_observation_time():
    assert faults(*SMC, times=3) == [
        ((), "the blocks reach 1 of 3 observation times; put those of one time into `hoist`")
    ]
    assert not faults(*SMC, {"kind": "hoist"}, times=3)
    assert not faults(*SMC, *SMC, *SMC, times=3)
    assert faults(*SMC, *SMC, times=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": ["advance", "mh", "score"]}, "steps.1: `mh` takes weighted particles"),
        ({"steps": [*SMC, "collapse"]}, "`collapse` leaves one particle"),
        ({"shift": 2, "lag": 2}, "reach 1 of 2 observation times"),
        ({"steps": ["advance", {"kind": "mh", "kernel": "trace", "scale": 1}, "score"]}, "takes none"),
        ({"steps": ["advance", "score", {"kind": "mh", "kernel": "pcn", "scale": 2}]}, "above 1"),
        ({"steps": ["advance", "weigh"]}, "'advance', 'collapse', 'hoist'"),
    ],
)
def test_a_method_with_a_bad_stack_is_refused(options, message):
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(AnyAnalysis).validate_python({"kind": "inference_stack", **options})


def test_moves_need_more_particles_than_the_state_has_components():
    few = TypeAdapter(AnyAnalysis).validate_python({"kind": "inference_stack", "members": 12})
    (problem,) = few.check(TRUTH.info)
    assert "12 particles have no density in 12 dimensions" in problem.message
    without = TypeAdapter(AnyAnalysis).validate_python(
        {"kind": "inference_stack", "members": 12, "steps": SMC}
    )
    assert not list(without.check(TRUTH.info))


def test_the_evidence_of_the_model_is_that_of_its_joint_gaussian():
    # Cov(x_s, x_t) = a^|s - t| q / (1 - a²), plus r on the diagonal.
    number = torch.arange(4).double()
    C = 0.8 ** (number[:, None] - number).abs() * 0.4 / (1 - 0.64) + 0.5 * torch.eye(4).double()
    joint = torch.distributions.MultivariateNormal(torch.zeros(4).double(), C)
    assert float(MODEL.evidence()) == pytest.approx(float(joint.log_prob(MODEL.value)), abs=1e-12)


@pytest.mark.parametrize("threshold", [0.0, 0.6, 1.0])
def test_blocks_that_must_keep_the_sum_of_weights_keep_it(threshold):
    place = session()
    scored = run_stack(blocks("spawn", "advance", "score"), place)
    total = scored.evidence()
    resample = {"kind": "resample", "threshold": threshold}
    for step in blocks(resample, "push_evidence", "mh", "collapse"):
        assert torch.allclose(step.apply(scored, place, step.kind).evidence(), total, atol=1e-12)
    pushed = blocks("push_evidence")[0].apply(scored, place, "push")
    assert torch.allclose(pushed.log_weight.exp().sum(1), torch.ones(3).double())
    assert torch.allclose(pushed.log_evidence, total)


def test_collapse_draws_a_particle_by_its_weight():
    x = torch.tensor([0.0, 1.0, 2.0]).double().expand(4000, -1)[..., None]
    weight = torch.tensor([0.2, 0.5, 0.3]).double()
    population = Population(
        x, x, x, (7 * weight).log().expand(4000, -1).contiguous(), torch.zeros(4000).double(), time=1
    )
    one = blocks("collapse")[0].apply(population, session(3, 4000), "collapse")
    assert one.state.shape == (4000, 1, 1)
    shares = torch.bincount(one.state.flatten().long(), minlength=3).double() / 4000
    assert ((shares - weight).abs() <= 6 * (weight * (1 - weight) / 4000).sqrt()).all()
    assert torch.allclose(one.evidence(), torch.full((4000,), math.log(7)).double())


def test_a_further_block_shifts_no_stream_of_the_others():
    plain = run_stack(looped("advance", "score", "resample"), session())
    more = run_stack(looped("advance", "score", "push_evidence", "resample"), session())
    assert torch.equal(plain.trace, more.trace)
    moved = run_stack(blocks("spawn", *SMC, {"kind": "mh", "moves": 3}, *SMC), session())
    still = run_stack(blocks("spawn", *SMC, *SMC), session())
    # What the later `advance` draws, before it is drawn again, is the same: the set of noises is.
    assert set(moved.trace[0, :, 2].tolist()) <= set(run_noise(still).tolist())


def run_noise(still):
    return torch.cat([still.trace[0, :, 2], session().draws("advance-1").normal(6, 1)[0, :, 0]])


def test_an_experiment_does_not_depend_on_those_beside_it():
    steps = looped("advance", "score", "resample", {"kind": "mh", "target": "window"})
    alone, among = run_stack(steps, session(batch=1)), run_stack(steps, session(batch=3))
    assert torch.allclose(alone.trace[0], among.trace[0], atol=1e-12)
    assert not torch.allclose(among.trace[0], among.trace[1])


@pytest.mark.parametrize(
    "options",
    [
        {"kernel": "rwm", "moves": 60},
        {"kernel": "pcn", "moves": 60},
        {"kernel": "mala", "moves": 60, "scale": 0.5},
        {"kernel": "trace", "moves": 200},
    ],
    ids=lambda options: options["kernel"],
)
def test_moves_lead_from_the_prior_to_the_posterior(options):
    members, times = 8000, 3
    z = torch.randn(1, members, 1 + times, generator=seeded(3), dtype=torch.float64)
    states = [MODEL.begin(z[..., :1])]
    for time in range(times):
        states.append(MODEL.advance(states[-1], z[..., 1 + time : 2 + time], time))
    nothing = torch.zeros(1, members).double()
    prior = Population(z, states[-1], states[-2], nothing, torch.zeros(1).double(), time=times)
    after = MHSpec(**options).apply(prior, session(members, 1), "mh").state[0, :, 0]
    mean, variance = torch.zeros(()).double(), 0.4 / 0.36
    for y in MODEL.value[:times]:
        mean, variance = 0.8 * mean, 0.64 * variance + 0.4
        gain = variance / (variance + 0.5)
        mean, variance = mean + gain * (y - mean), (1 - gain) * variance
    assert float((after.mean() - mean).abs()) <= 6 * (variance / members) ** 0.5
    assert float(after.var()) == pytest.approx(variance, rel=6 * (2 / members) ** 0.5)


def test_moves_of_a_window_hold_the_state_before():
    place = session()
    scored = run_stack(blocks("spawn", *SMC, *SMC), place)
    moved = MHSpec(target="window", kernel="pcn", moves=5).apply(scored, place, "mh")
    assert torch.equal(moved.trace[..., :2], scored.trace[..., :2])
    assert not torch.equal(moved.trace[..., 2], scored.trace[..., 2])
    assert torch.allclose(moved.state, MODEL.advance(scored.before, moved.trace[..., 2:], 1))
    whole = MHSpec(kernel="pcn", moves=5).apply(scored, place, "mh")
    assert torch.allclose(whole.state, MODEL.rerun(whole.trace, 2)[0])
    assert not torch.equal(whole.trace[..., 0], scored.trace[..., 0])


CHOSEN = ("residual", "adaptive", "moved")


def test_evidence_is_unbiased_and_a_wrong_block_shows():
    chosen = {name: stack for name, stack in EvidenceOfStacksSpec().stacks.items() if name in CHOSEN}
    study = EvidenceOfStacksSpec(stacks=chosen, sizes=(20,), runs=600, times=6)
    deviation = study.run(seed=3).scores["deviation"]
    assert all(deviation[name]["20"] <= 4 for name in study.stacks)
    assert deviation["forgetful"]["20"] > 10
    assert not list(order_faults((ForgetfulRound(),), Form.START))


STACK = {"kind": "inference_stack", "members": 30}
FEW = {"kind": "synthetic", "every": 2, "locations": {"kind": "every", "step": 4}, "error": {"variance": 4.0}}


def test_without_drawing_again_it_is_the_particle_filter():
    stack = cycle(experiment({**STACK, "steps": ["advance", "score"]}, FEW), 30, keep="mean")
    weights = cycle(experiment({"kind": "particle", "members": 30, "threshold": 0}, FEW), 30, keep="mean")
    assert torch.allclose(stack.analysis, weights.analysis, atol=1e-4)
    # Later one particle has all the weight but for rounding.
    assert torch.allclose(stack.background_spread[:, :3], weights.background_spread[:, :3], atol=1e-4)
    for name in ("log_evidence", "n_eff"):
        assert torch.allclose(stack.figures[name], weights.figures[name], rtol=1e-6)


def test_a_long_window_in_a_loop_is_a_chain_of_short_ones():
    inner = ["advance", "score"]
    long = cycle(
        experiment({**STACK, "lag": 3, "shift": 3, "steps": [{"kind": "hoist", "steps": inner}]}, FEW), 30
    )
    short = cycle(experiment({**STACK, "steps": inner}, FEW), 30)
    ends = slice(2, None, 3)
    assert torch.allclose(long.analysis[:, :, ends], short.analysis[:, :, ends], atol=1e-4)
    sums = [one.figures["log_evidence"].unflatten(1, (-1, 3)).sum(2) for one in (long, short)]
    assert torch.allclose(*sums, rtol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"lag": 2},
        {"lag": 2, "shift": 2, "steps": [{"kind": "hoist", "steps": SMC}, {"kind": "mh", "kernel": "mala"}]},
        {"steps": ["spawn", "advance", "score", "resample"]},
    ],
)
def test_a_run_that_was_stopped_goes_on_bit_by_bit(options, monkeypatch):
    monkeypatch.setattr(records, "BLOCK_CYCLES", 4)
    trial = experiment({**STACK, **options}, FEW)
    whole = cycle(trial, 30)
    blocks_of_cycles = run(trial, CycleState(start(trial.dynamics, TRUTH, 30), seeded(4)))
    first = next(blocks_of_cycles)
    saved = {name: tensor.clone() for name, tensor in first.state.tensors().items()}
    rest = joined(run(trial, CycleState.restored(saved)))
    assert torch.equal(torch.cat([first.analysis, rest.analysis], dim=2), whole.analysis)
    assert torch.isfinite(whole.figures["log_evidence"]).all()
    assert (whole.figures["unique"] <= 30).all()


def test_particles_that_coincide_stay_where_they_are():
    trial = experiment(STACK, FEW)
    same = start(trial.dynamics, TRUTH, 1).expand(-1, 30, -1).contiguous()
    cycles = joined(run(trial, CycleState(same, seeded(4))))
    free = same
    for _ in range(2):
        free = trial.dynamics.step(free.flatten(0, 1)).unflatten(0, free.shape[:2])
    assert torch.allclose(cycles.analysis[:, :, 0, :, 0].double(), free, atol=1e-5)
    assert torch.isfinite(cycles.figures["log_evidence"]).all()
