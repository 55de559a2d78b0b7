"""Broken pipelines: each refused with its line, its column and a remedy, all faults at once, and nothing written."""

from pathlib import Path

import pytest
from schemas.faults import PipelineInvalid
from schemas.pipeline import load

VALID = (Path(__file__).parent / "data" / "twin.yaml").read_text(encoding="utf-8")
TRUTH = VALID[VALID.index("  truth:") : VALID.index("  dynamics:")]

# what is replaced, by what, and each fault: place and path, and words that its message holds
BROKEN = {
    "unknown kind": (
        "kind: edmd", "kind: emdd",
        [("13:19  steps.dynamics.model", "unknown kind 'emdd'; did you mean 'edmd'? (known: dmd, edmd")],
    ),
    "unknown kind as a bare string": (
        "model: fno", "model: fmo", [("30:12  steps.network.model", "did you mean 'fno'?")],
    ),
    "kind forgotten": (
        "{kind: lorenz96, points: 40}", "{points: 40}",
        [("6:5  steps.truth.system", "`kind` is required: one of kuramoto_sivashinsky, lorenz63, lorenz96")],
    ),
    "number where a method is expected": (
        "{kind: lorenz96, points: 40}", "3",
        [("6:13  steps.truth.system", "expected a block with `kind`, or one of kuramoto_sivashinsky")],
    ),
    "unknown task": (
        "task: train", "task: tran",
        [("11:11  steps.dynamics", "unknown task 'tran'; did you mean 'train'? (known: assimilate, evaluate")],
    ),
    "task forgotten": (
        "    task: train\n", "",
        [("10:3  steps.dynamics", "`task` is required: one of assimilate, evaluate, generate, ingest, train")],
    ),
    "text where a number is expected": (
        "steps: 300", "steps: many", [("8:12  steps.truth.steps", "expected a number, was given 'many'")],
    ),
    "quoted number": (
        "steps: 300", "steps: '300'",
        [("8:12  steps.truth.steps", "expected a number, was given '300'; remove the quotes")],
    ),
    "fraction where a whole number is expected": (
        "steps: 300", "steps: 300.5", [("8:12  steps.truth.steps", "expected a whole number, was given 300.5")],
    ),
    "truth value where a number is expected": (
        "steps: 300", "steps: true", [("8:12  steps.truth.steps", "expected a number, was given true")],
    ),
    "none of the types of a union": (
        "rank: 8", "rank: eight", [("13:31  steps.dynamics.model.rank", "expected a number or 'optimal', was given")],
    ),
    "on where true is expected": (
        "count: 20", "count: 20, redraw: on",
        [("18:82  steps.analysis.observations.locations.redraw", "expected true or false, was given 'on'; write true")],
    ),
    "list where a map is expected": (
        "observations: synthetic", "observations: []",
        [("24:19  steps.perfect.observations", "or one of synthetic, was given a list of 0 items")],
    ),
    "number where a list is expected": (
        "leads: [1, 3]", "leads: 3", [("36:12  steps.scores.leads", "expected a list, was given 3; write [3]")],
    ),
    "map where a text is expected": (
        "- rmse(dynamics", "- x: y", [("39:9  steps.scores.expect.0", "expected a text, was given a map with 1 key")],
    ),
    "empty list": (
        "leads: [1, 3]", "leads: []", [("36:12  steps.scores.leads", "needs at least 1 item, was given a list of 0")],
    ),
    "unknown key": (
        "rank: 8", "rnak: 8", [("13:25  steps.dynamics.model.rnak", "unknown key 'rnak'; did you mean 'rank'? (keys: ")],
    ),
    "unknown key at the top": (
        "seed: 1", "sede: 1", [("2:1  sede", "did you mean 'seed'?")],
    ),
    "missing key, found again misspelt": (
        "    data: truth\n", "    dta: truth\n",
        [
            ("10:3  steps.dynamics", "`data` is required: the dataset to learn from"),
            ("12:5  steps.dynamics.dta", "did you mean 'data'?"),
        ],
    ),
    "duplicate key": (
        "samples: 2\n", "samples: 2\n    samples: 3\n",
        [("8:5  steps.truth.samples", "duplicate key 'samples', first given at 7:5; keep one of them")],
    ),
    "unknown step": (
        "data: truth\n", "data: trth\n",
        [("12:11  steps.dynamics.data", "there is no step 'trth'; did you mean 'truth'? (steps: analysis, dynamics")],
    ),
    "reference of the wrong kind": (
        "model: dynamics", "model: truth",
        [("16:12  steps.analysis.model",
          "'truth' is a dataset, expected a model; name one of: truth.system, dynamics, network")],
    ),
    "reference of neither of two kinds": (
        "of: [dynamics, analysis]", "of: [dynamics, truth]",
        [("34:20  steps.scores.of.1", "'truth' is a dataset, expected a model or an analysis; name one of: ")],
    ),
    "scores where data are expected": (
        "data: truth\n", "data: scores\n",
        [
            ("12:11  steps.dynamics.data", "'scores' is a table of scores, expected a dataset; name one of: truth, truth.train"),
            ("12:11  steps.dynamics.data", "in a loop: dynamics -> scores -> dynamics; break it"),
        ],
    ),
    "unknown part": (
        "data: truth.test", "data: truth.tset",
        [("17:11  steps.analysis.data", "no part 'tset'; did you mean 'test'? (parts: train, test, system)")],
    ),
    "reference that is none": (
        "data: truth\n", "data: a b\n", [("12:11  steps.dynamics.data", "write `step`, `step.part` or `runs://")],
    ),
    "number as a reference": (
        "data: truth\n", "data: 3\n", [("12:11  steps.dynamics.data", "expected the name of a step, was given 3")],
    ),
    "step that refers to itself": (
        "model: dynamics", "model: analysis",
        [("16:12  steps.analysis.model", "step 'analysis' refers to itself; name another step")],
    ),
    "negative count": (
        "samples: 2", "samples: -2", [("7:14  steps.truth.samples", "must be above 0, was given -2")],
    ),
    "not a number": (
        "radius: 4.0", "radius: .nan",
        [("25:82  steps.perfect.method.localization.radius", "nan is not a finite number")],
    ),
    "infinite seed": ("seed: 1", "seed: 1e999", [("2:7  seed", "inf is not a finite number")]),
    "number without end": (
        "seed: 1", f"seed: 1{'0' * 40}", [("2:7  seed", "a whole number has at most 18 digits; write it shorter")],
    ),
    "modes above Nyquist": (
        "model: fno", "model: {kind: fno, modes: 40}", [("30:31  steps.network.model.modes", "40 is above 20, the Nyquist limit")],
    ),
    "more observations than cells": (
        "count: 20", "count: 41",
        [("18:70  steps.analysis.observations.locations.count", "41 sites on a grid of 40 points; lower it")],
    ),
    "too few members": ("members: 10", "members: 1", [("19:35  steps.analysis.method.members", "must be at least 2")]),
    "localisation without positions": (
        "model: truth.system", "model: dynamics",
        [("25:39  steps.perfect.method.localization", "the state of model 'dynamics' has none; remove `localization`")],
    ),
    "lead beyond the test part": (
        "leads: [1, 3]", "leads: [3, 101]",
        [("36:16  steps.scores.leads.1", "101 is above 100, the longest lead that the 100 records of 'truth.test'")],
    ),
    "delays beyond the train part": (
        "delays: 2", "delays: 250", [
            ("13:42  steps.dynamics.model.delays", "the training part holds 200 records"),
            ("17:11  steps.analysis.data", "has 100 records, and 250 of them make one state; use a longer part"),
        ],
    ),
    "training of a closed form": (
        "rank: 8, delays: 2}", "rank: 8, delays: 2}\n    training: {epochs: 3}",
        [("14:5  steps.dynamics.training", "'edmd' is fitted in closed form and takes no `training` block; remove it")],
    ),
    "no part to learn from": (
        "train: 200, test: 100", "test: 100",
        [
            ("12:11  steps.dynamics.data", "has no part `train` (parts: test); add one to learn from"),
            ("29:11  steps.network.data", "has no part `train`"),
        ],
    ),
    "part that holds nothing": (
        "train: 200, test: 100", "train: 200, test: 101",
        [("9:38  steps.truth.split.time.test", "change `split.time.test`")],
    ),
    "more cycles than records": (
        "keep: mean", "cycles: 200", [("26:13  steps.perfect.cycles", "200 is above 100, the records of 'truth.test'; lower")],
    ),
    "burn-in that leaves nothing": (
        "keep: mean", "burn_in: 100", [("26:14  steps.perfect.burn_in", "leaves nothing of 100 observation times")],
    ),
    "ensemble score without an ensemble": (
        "of: [dynamics, analysis]\n    against: [persistence, climatology]\n    leads: [1, 3]\n    metrics: [rmse, crps]",
        "of: [dynamics, perfect]\n    against: [persistence, climatology]\n    leads: [1, 3]\n    metrics: [spread_skill]",
        [
            ("37:15  steps.scores.metrics.0", "'spread_skill' needs an ensemble, and none of dynamics, perfect has one"),
            ("39:9  steps.scores.expect.0", "unknown metric 'rmse'"),
        ],
    ),
    "baseline that no forecast stands beside": (
        "of: [dynamics, analysis]", "of: [analysis]",
        [
            ("35:15  steps.scores.against.0", "'persistence' is a forecast, and `of` holds analyses alone; remove it"),
            ("39:9  steps.scores.expect.0", "unknown subject 'dynamics'"),
        ],
    ),
    "subject named twice": (
        "of: [dynamics, analysis]", "of: [dynamics, dynamics]", [("34:20  steps.scores.of.1", "was named before; remove it")],
    ),
    "integrator of another equation": (
        "{kind: lorenz96, points: 40}\n", "{kind: lorenz96, points: 40}\n    integrator: etdrk4\n",
        [("7:17  steps.truth.integrator", "'etdrk4' does not solve a tendency equation such as that of 'lorenz96'; use 'rk4'")],
    ),
    "condition on an unknown metric": (
        "rmse(dynamics", "rmes(dynamics", [("39:9  steps.scores.expect.0", "unknown metric 'rmes'; did you mean 'rmse'?")],
    ),
    "condition on an unknown subject": (
        "rmse(dynamics", "rmse(dinamics",
        [("39:9  steps.scores.expect.0", "unknown subject 'dinamics'; did you mean 'dynamics'?")],
    ),
    "condition on a lead that is not scored": (
        "rmse(dynamics, lead=3)", "rmse(dynamics, lead=2)",
        [("39:9  steps.scores.expect.0", "'dynamics' has no score at lead 2, its leads are 1, 3; use one of them or add")],
    ),
    "condition that is none": (
        "<= 0.9", "=< 0.9", [("39:9  steps.scores.expect.0", "expected one of <= < >= > or `in [low, high]`, found '='")],
    ),
    "sweep": ("seed: 1", "sweep: {rank: [1, 2]}", [("2:1  sweep", "sweep is not available in this version; remove it")]),
    "step named badly": ("  network:", "  net-work:", [("27:3  steps.net-work", "letters, digits and _")]),
    "step named like a baseline": ("  network:", "  climatology:", [("27:3  steps.climatology", "is the name of a baseline")]),
    "pipeline named badly": ("name: twin", "name: a twin", [("1:7  name", "letters, digits, - and _")]),
    "unknown device": ("keep: mean", "device: gpu", [("26:13  steps.perfect.device", "use auto, cpu, cuda, cuda:<number>")]),
    "more memory than there is": (
        "samples: 2", "samples: 10000000", [("4:3  steps.truth", "of memory, this machine has")],
    ),
    "unknown runner": ("seed: 1", "runner: dsk", [("2:9  runner", "unknown kind 'dsk'; did you mean 'dask'? (known: dask, threads)")]),
    "schedule that is none": (
        "seed: 1", "schedule: {cron: 0 6 * *, timezone: Mars}",
        [
            ("2:18  schedule.cron", "is not a cron line of five fields; write for example '0 6 * * *'"),
            ("2:37  schedule.timezone", "unknown time zone 'Mars'"),
        ],
    ),
    "file that is missing": (
        TRUTH,
        "  truth: {task: ingest, source: {kind: netcdf, path: no.nc}, variables: [x], split: {time: {train: 1, test: 1}}}\n",
        [("4:54  steps.truth.source.path", "no.nc' does not exist"), ("17:12  steps.perfect.model", "no part 'system'")],
    ),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def faults(content: str | bytes, *overrides: str) -> list[str]:
    Path("p.yaml").write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(PipelineInvalid) as caught:
        load("p.yaml", overrides)
    assert str(caught.value).splitlines() == [str(fault) for fault in caught.value.faults]
    return [str(fault) for fault in caught.value.faults]


def assert_faults(found: list[str], expected: list[tuple[str, str]]) -> None:
    assert [line.partition(": ")[0] for line in found] == [f"p.yaml:{place}" for place, _ in expected], found
    for line, (_, words) in zip(found, expected, strict=True):
        assert words in line


def test_the_pipeline_that_is_broken_below_is_valid(folder: Path) -> None:
    Path("p.yaml").write_text(VALID)
    assert load("p.yaml").pipeline.name == "twin"


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_pipeline_is_refused_with_place_and_remedy(folder: Path, case: str) -> None:
    old, new, expected = BROKEN[case]
    assert VALID.count(old) >= 1
    assert_faults(faults(VALID.replace(old, new, 1)), expected)
    assert [path.name for path in folder.iterdir()] == ["p.yaml"]


# content that is not YAML as we read it, and the one fault
UNREADABLE = {
    "tab indentation": (b"name: x\nsteps:\n\ta: 1\n", "p.yaml:3:1  a tab cannot indent YAML; use spaces"),
    "empty file": (b"", "p.yaml:1:1  the file is empty; write `name:` and `steps:`"),
    "comments alone": (b"# nothing\n", "p.yaml:1:1  the file is empty; write `name:` and `steps:`"),
    "a list": (b"- name: x\n", "p.yaml:1:1  expected a map with `name:` and `steps:`, was given a list"),
    "two documents": (
        b"name: x\n---\nname: y\n",
        "p.yaml:2:1  a second document; keep one pipeline in a file and remove the `---`",
    ),
    "python object": (
        b"name: x\nsteps: !!python/object/apply:os.system [ls]\n",
        "p.yaml:2:8  steps: tag '!!python/object/apply:os.system' is not allowed; remove it and write the plain value",
    ),
    "alias that contains itself": (
        b"name: x\nsteps: &a {b: *a}\n",
        "p.yaml:2:15  steps.b: anchor &a contains itself; an alias cannot refer to what it stands in",
    ),
    "alias of nothing": (
        b"name: x\nsteps: *a\n",
        "p.yaml:2:8  steps: alias *a has no anchor &a above it; define it first",
    ),
    "alias bomb": (
        b"a: &a [1,1,1,1,1,1,1,1,1,1]\n"
        + b"".join(
            b"%c: &%c [%s]\n" % (name, name, b",".join([b"*%c" % (name - 1)] * 10)) for name in range(98, 123)
        ),
        "p.yaml:5:4  e: more than 20000 values after its aliases are expanded; write fewer",
    ),
    "nesting without end": (b"a: " + b"[" * 5000, f"p.yaml:1:35  a{'.0' * 31}: nested deeper than 32 levels; flatten it"),
    "not UTF-8": (b"name: x\nsteps: caf\xe9\n", "p.yaml:2:11  byte 0xe9 is not UTF-8; save the file as UTF-8"),
    "control character": (b"name: x\nseed: \x07\n", "p.yaml:2:7  the character U+0007 cannot stand in YAML; remove it"),
    "number as a key": (b"name: x\nsteps: {1: a}\n", "p.yaml:2:9  steps: a key must be text, was given 1; quote it"),
    "map as a key": (
        b"name: {{ x }}\n",
        "p.yaml:1:8  name: a key must be text, was given a map or list; check the brackets",
    ),
    "brace without end": (b"name: {a: 1\nb: 2\n", "p.yaml:1:7  a '{' that is not closed, or a ',' is missing"),
    "quote without end": (b"name: 'x\n", "p.yaml:1:7  a quote that is not closed; add the closing quote"),
    "crooked indentation": (
        b"name: x\n  seed: 1\n",
        "p.yaml:2:7  an unexpected ':'; check the indentation, or quote a value that holds ':'",
    ),
    "merge of no map": (
        b"name: x\nsteps: {<<: 1}\n",
        "p.yaml:2:9  steps: `<<` merges maps only; give it an alias (*name) of a map, or a list of them",
    ),
    "large file": (b"#" * 300_000, "p.yaml:1:1  the file has more than 262144 bytes; a pipeline is a short text, check the path"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNREADABLE)
def test_a_file_that_cannot_be_read_is_refused_with_its_place(folder: Path, case: str) -> None:
    content, expected = UNREADABLE[case]
    assert faults(content) == [expected]


def test_a_file_that_is_not_there_is_refused(folder: Path) -> None:
    with pytest.raises(PipelineInvalid, match=r"^none\.yaml  no such file; check the path$"):
        load("none.yaml")


def test_a_pipeline_without_steps_is_refused(folder: Path) -> None:
    assert faults("name: x\n") == [
        "p.yaml:1:1  `steps` is required: what is done, by name; edges come from references alone"
    ]
    assert faults("name: x\nsteps: {}\n") == [
        "p.yaml:2:1  steps: needs at least 1 item, was given a map with 0 keys"
    ]


def test_faults_of_grammar_references_and_shapes_come_together(folder: Path) -> None:
    broken = (
        VALID.replace("kind: edmd", "kind: emdd")
        .replace("seed: 1", "seed: -1")
        .replace("observations: synthetic", "observations: {kind: synthetic, locations: {kind: random, count: 41}}")
        .replace("    data: truth\n    model: fno", "    data: trth\n    model: fno")
    )
    assert_faults(
        faults(broken),
        [
            ("2:7  seed", "must be at least 0"),
            ("13:19  steps.dynamics.model", "unknown kind"),
            ("24:70  steps.perfect.observations.locations.count", "41 sites"),
            ("29:11  steps.network.data", "did you mean 'truth'?"),
        ],
    )


def test_a_loop_is_named_along_its_edges(folder: Path) -> None:
    found = faults(
        """\
name: loop
steps:
  t: {task: train, data: u, model: dmd}
  u: {task: train, data: t, model: dmd}
"""
    )
    assert found == [
        "p.yaml:3:26  steps.t.data: 'u' is a model, expected a dataset; add a step that yields a dataset",
        "p.yaml:3:26  steps.t.data: steps refer to one another in a loop: t -> u -> t; break it",
        "p.yaml:4:26  steps.u.data: 't' is a model, expected a dataset; add a step that yields a dataset",
    ]
