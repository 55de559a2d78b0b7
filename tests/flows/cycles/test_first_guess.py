"""What windows start from."""

from pathlib import Path

import numpy as np
import pytest

from flows.display import Silent
from flows.engines import InlineEngine
from flows.prepare import prepare as prepare_pipeline
from flows.request import Request
from flows.run import carry_out
from koopcast.errors import InvalidInput
from schemas.faults import PipelineInvalid
from tasks.cycle import tick
from tests.flows.cycles.conftest import CYCLE, TRUTH, at, content, cycle, deliver, reports


def test_windows_from_the_climatology_do_not_depend_on_one_another(place: Path) -> None:
    deliver(place, range(4))
    option = "first_guess=climatology"
    whole = cycle(place, "whole", option)
    tick(whole, at(3))
    reports(place, range(3, 4)).to_csv(place / "inbox/all.csv", index=False)
    last = cycle(place, "last", option)
    assert [manifest.source for manifest in tick(last, at(3)).done] == ["forecast"] * 3 + ["analysis"]
    for quantity in ("analysis", "background", "forecast"):
        one, other = (ready.archive.fields(quantity)["X"].values for ready in (whole, last))
        assert (one[3] == other[3]).all()
        # Each window draws anew.
        assert not (one[3] == one[2]).any()
    chained = cycle(place, "chained")
    tick(chained, at(3))
    assert not (chained.archive.fields("background")["X"].values[3] == one[3]).all()


def test_windows_start_from_a_dataset_where_it_holds_the_time(place: Path) -> None:
    given = "first_guess=runs://ring/latest/truth.test"
    exact = cycle(place, "exact", given, "initial={kind: constant, std: 1e-6}")
    done = tick(exact, at(5)).done
    assert [manifest.values["first_guess"] for manifest in done] == ["dataset"] * 6
    truth = np.load(place / "truth.npy")[1:7]
    background = exact.archive.fields("background")["X"].values.squeeze()
    assert np.allclose(background, truth, atol=1e-4)

    generate(place, "short", steps=3)
    deliver(place, range(6))
    option = "first_guess=runs://short/latest/truth"
    ready = cycle(place, "short", option)
    started = [manifest.values["first_guess"] for manifest in tick(ready, at(5)).done]
    assert started == ["dataset"] * 3 + ["previous_analysis"] * 3
    later = cycle(place, "later", option)
    for window in range(6):
        tick(later, at(window))
    assert content(later.archive) == content(ready.archive)


def test_a_first_guess_that_does_not_fit_is_refused(place: Path) -> None:
    generate(place, "eight", steps=3, points=8)
    for option, told in (
        ("climatolgy", "none of previous_analysis, climatology; or name a dataset of a run"),
        ("runs://ring/latest/truth.valid", "has no part 'valid'"),
        ("runs://ring/latest/truth.system", "'truth.system' has no part|is a model, expected a dataset"),
        ("runs://nothing/latest/truth", "nothing"),
        ("runs://eight/latest/truth", "is on another grid than the model"),
    ):
        with pytest.raises(PipelineInvalid, match=told) as caught:
            cycle(place, "twin", f"first_guess={option}")
        assert "first_guess" in str(caught.value)


def test_a_reanalysis_refuses_another_dataset_to_start_from(place: Path) -> None:
    deliver(place, range(2))
    generate(place, "given", steps=5)
    option, text = "first_guess=runs://given/latest/truth", CYCLE + "clock: reanalysis\n"
    tick(cycle(place, "twin", option, text=text), at(1))
    generate(place, "given", steps=6)
    deliver(place, range(3))
    changed = cycle(place, "twin", option, text=text)
    with pytest.raises(InvalidInput, match="begun with another first guess"):
        tick(changed, at(2))
    assert len(tick(changed, at(2), fork=True).done) == 1


def generate(place: Path, name: str, *, steps: int, points: int = 12) -> None:
    """Run a pipeline that makes a dataset of `steps` + 1 records."""
    text = TRUTH.replace("name: ring", f"name: {name}").replace("points: 12", f"points: {points}")
    text = text.replace("steps: 400", f"steps: {steps}").partition("    split")[0]
    (place / f"{name}.yaml").write_text(text)
    request = Request(pipeline=str(place / f"{name}.yaml"), store=str(place / "store"))
    assert carry_out(prepare_pipeline(request), InlineEngine(), Silent()).state == "done"
