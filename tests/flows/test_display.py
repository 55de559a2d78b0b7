import io

import pytest
from rich.console import Console

from flows.display import Bars, Lines, describe, duration, size
from koopcast.progress import Progress


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.44, "0.4 s"), (12.4, "12 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")]
)
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(512, "512 B"), (3_400_000, "3.4 MB"), (2e15, "2e+03 TB")])
def test_sizes_read_as_people_say_them(count: float, text: str) -> None:
    assert size(count) == text


def test_remaining_time_follows_the_mean_pace() -> None:
    # 3 of 12 epochs took 30 s: 10 s each, 9 to go
    assert (
        describe(Progress("epoch", 3, 12, {"loss": 0.125}), 30.0) == "epoch 3/12  loss 0.125  1 min 30 s left"
    )


def test_lines_are_plain_and_one_a_state() -> None:
    out = io.StringIO()
    lines = Lines(Console(file=out, width=200), interval=0.0)
    lines.start("dynamics", "train")
    lines.listener("dynamics")(Progress("epoch", 1, 2))
    lines.finish("dynamics", "done", "3.0 s")
    text = out.getvalue().splitlines()
    assert [line.split()[:2] for line in text] == [
        ["dynamics", "running"],
        ["dynamics", "running"],
        ["dynamics", "done"],
    ]
    assert "\x1b" not in out.getvalue()


def test_bars_show_the_end_of_each_step() -> None:
    out = io.StringIO()
    bars = Bars(Console(file=out, force_terminal=True, width=120))
    with bars.live():
        bars.start("dynamics", "train")
        bars.listener("dynamics")(Progress("epoch", 1, 2, {"loss": 0.5}))
        bars.finish("dynamics", "failed", "the loss became infinite")
    assert "the loss became infinite" in out.getvalue()
