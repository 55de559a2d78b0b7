"""What a cycle costs: a window of many dirty reports, and a year of windows.

python benchmarks/cycle.py reports [--count 1000000] [--shape 180 360] [--method etkf] [--members 20]
                                   [--position nearest] [--thinning mean]
python benchmarks/cycle.py year [--windows 1460] [--form windows | icechunk]
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import xarray as xr

from benchmarks.dirt import deliver, feed
from koopcast.assimilation.etkf import ETKFSpec
from koopcast.assimilation.inflation import MultiplicativeSpec
from koopcast.assimilation.initial import ClimatologySpec
from koopcast.assimilation.letkf import LETKFSpec
from koopcast.cycles.archive import Archive, Form, Keeping
from koopcast.cycles.chain import Chain
from koopcast.cycles.clock import Clock, negative
from koopcast.cycles.feed import TableInboxSpec
from koopcast.cycles.inbox import Inbox
from koopcast.cycles.tick import Ticker
from koopcast.cycles.work import Policy
from koopcast.dynamics import Dynamics
from koopcast.fields import FieldData
from koopcast.generation import Run, SystemDynamics, evolve
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.integrators.rk4 import RK4Spec
from koopcast.systems.lorenz96 import Lorenz96Spec
from koopcast.times import parse_duration

METHODS = {"etkf": ETKFSpec, "letkf": LETKFSpec}
PROCESSOR = "processor seconds in all"
START = pd.Timestamp("2020-01-01T06:00")
STEP = parse_duration("PT6H")


class Persistence(Dynamics):
    """The field stays as it is."""

    def __init__(self, info: FieldsInfo) -> None:
        self.info, self.dtype = info, torch.float64

    def step(self, state: torch.Tensor) -> torch.Tensor:
        """Return the state."""
        return state


def globe(shape: tuple[int, int]) -> FieldData:
    """Return smooth random fields on a latitude-longitude grid."""
    rng = np.random.default_rng(0)
    latitude = -90 + (np.arange(shape[0]) + 0.5) * 180 / shape[0]
    longitude = np.arange(shape[1]) * 360 / shape[1]
    north, east = np.deg2rad(latitude)[:, None], np.deg2rad(longitude)[None]
    values = np.stack(
        [
            280 + 15 * np.cos(3 * north) + rng.standard_normal() * np.sin(east * (1 + k % 3) + k)
            for k in range(20)
        ]
    )
    axes = (
        Axis("latitude", shape[0], "latitude", units="degrees_north"),
        Axis("longitude", shape[1], "longitude", periodic=True, length=360.0, units="degrees_east"),
    )
    dataset = xr.Dataset(
        {"t": (("time", "latitude", "longitude"), values.astype("float32"))},
        {
            "time": pd.date_range("2019-01-01", periods=20, freq="6h"),
            "latitude": latitude,
            "longitude": longitude,
        },
    )
    return FieldData(dataset, FieldsInfo({"t": "K"}, axes, TimeAxis(20, "PT6H", calendar="standard")))


def ticker(chain: Chain, fields: FieldData, folder: Path, keeping: Keeping) -> tuple[Ticker, Inbox, Archive]:
    """Return a cycle in a folder."""
    spec = TableInboxSpec.model_validate(
        {"kind": "table", "path": str(folder / "inbox/*.csv"), "settle": 0,
         "variables": {name: {"bounds": [-1000, 350]} for name in fields.info.variables}}
    )  # fmt: skip
    archive = Archive(folder / "archive", keeping=keeping)
    archive.open({})
    inbox = Inbox(spec, fields.info, chain.clock, archive.inbox)
    return Ticker(chain, inbox, archive, Policy(max_catchup=10**6)), inbox, archive


def clock() -> Clock:
    """Return six-hourly windows."""
    return Clock(START, STEP, negative(STEP), STEP, parse_duration("PT0S"))


def reports(options: argparse.Namespace) -> dict[str, float]:
    """Return time and memory of a window of many reports, analysed and published; counts must add up."""
    fields = globe(tuple(options.shape))
    method = METHODS[options.method](members=options.members)
    taken: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "inbox").mkdir()
        expected = write(feed(options.count, START + pd.Timedelta(hours=6)), folder / "inbox")
        chain = Chain(
            Persistence(fields.info), method, ClimatologySpec(), fields, clock(), 1, 0,
            thinning=options.thinning, position=options.position,
        )  # fmt: skip
        _, inbox, archive = ticker(chain, fields, folder, Keeping())
        state, scratch = chain.first(1), archive.scratch()
        with timed(taken, "seconds to read"):
            inbox.scan()
        with timed(taken, "seconds to judge"):
            placed = chain.places.place(inbox.reports(1))
        with timed(taken, "seconds to analyse"):
            values, analysed_fields = chain.run(1, state, placed, scratch)
        with timed(taken, "seconds to publish"):
            archive.publish(clock().name(1), scratch, {"previous": "start", **values}, analysed_fields)
        found = {**values["observations"], **inbox.totals(), "elsewhere": len(inbox.reports(0))}
    del found["digest"], found["in_windows"]
    analysed = found["used"]
    found["used"] += found.pop("thinned", 0)
    assert found == expected, (found, expected)
    assert sum(found.values()) == options.count
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {
        **found, "analysed": analysed, **taken, "peak GB": peak,
        "O-B": values["monitors"]["ob_rms"], "O-A": values["monitors"]["oa_rms"],
    }  # fmt: skip


@contextmanager
def timed(taken: dict[str, float], name: str) -> Iterator[None]:
    """Note the seconds that a part takes."""
    begin = time.perf_counter(), time.process_time()
    yield
    taken[name] = time.perf_counter() - begin[0]
    taken[PROCESSOR] = taken.get(PROCESSOR, 0.0) + time.process_time() - begin[1]


def write(records: pd.DataFrame, folder: Path) -> dict[str, int]:
    """Write records as eight tables; return the classes in which they should end."""
    for number, rows in enumerate(np.array_split(np.arange(len(records)), 8)):
        deliver(records.iloc[rows], folder / f"{number}.csv", "plain")
    return {str(key): int(count) for key, count in records["expected"].value_counts().items()}


def year(windows: int, form: Form) -> dict[str, float]:
    """Return the time of a year of windows of a twin, of opening them, and of a tick on top of them."""
    setup = Run(Lorenz96Spec(), RK4Spec(), samples=1, steps=windows + 1, burn_in=400)
    truth = evolve(setup, seed=1, dtype="float64")
    values = truth.tensor(dtype=torch.float64)[0, :, :, 0].numpy()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "inbox").mkdir()
        rng = np.random.default_rng(3)
        for month in range(0, windows, 120):
            numbers = np.arange(month, min(month + 120, windows))
            moments = np.repeat(START + pd.to_timedelta(6 * numbers, unit="h"), 40)
            noisy = values[numbers + 1] + rng.standard_normal((len(numbers), 40))
            table = pd.DataFrame(
                {"time": moments, "state": np.tile(np.arange(40), len(numbers)), "value": noisy.ravel()}
            )
            table.to_csv(folder / f"inbox/{month}.csv", index=False)
        method = ETKFSpec(members=50, inflation=MultiplicativeSpec(factor=1.02), rotation=True)
        chain = Chain(SystemDynamics(setup), method, ClimatologySpec(), truth, clock(), 1, 0)
        tick, _, archive = ticker(chain, truth, folder, Keeping(form, compact="never"))
        begin = time.perf_counter()
        done = tick.run(chain.clock.label(windows - 1)).done
        figures = {"windows": float(len(done)), "seconds a window": (time.perf_counter() - begin) / len(done)}
        figures["seconds to open, a store a window"] = seconds_of(lambda: archive.fields("analysis"))
        if form == "windows":
            tick, _, archive = ticker(chain, truth, folder, Keeping())
            figures["seconds to bring months together"] = seconds_of(
                lambda: tick.run(chain.clock.label(windows - 1))
            )
            figures["seconds to open, a store a month"] = seconds_of(lambda: archive.fields("analysis"))
        figures["seconds of a tick with nothing due"] = seconds_of(
            lambda: tick.run(chain.clock.label(windows - 1))
        )
        figures["seconds to check every file"] = seconds_of(archive.faults)
        analysis = archive.fields("analysis")["X"].values.squeeze()
        error = np.sqrt(np.mean((analysis - values[1 : windows + 1]) ** 2, axis=1))
        figures |= {"faults": float(len(archive.faults())), "mean error later": float(error[100:].mean())}
    return figures


def seconds_of(act: Callable[[], object]) -> float:
    """Return the seconds that an act takes."""
    begin = time.perf_counter()
    act()
    return time.perf_counter() - begin


def main() -> None:
    """Run one of the two."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    many = commands.add_parser("reports")
    many.add_argument("--count", type=int, default=10**6)
    many.add_argument("--shape", type=int, nargs=2, default=(180, 360))
    many.add_argument("--method", choices=METHODS, default="etkf")
    many.add_argument("--members", type=int, default=20)
    many.add_argument("--position", choices=("nearest", "bilinear"), default="nearest")
    many.add_argument("--thinning", choices=("none", "first", "mean"), default="mean")
    long = commands.add_parser("year")
    long.add_argument("--windows", type=int, default=1460)
    long.add_argument("--form", choices=["windows", "icechunk"], default="windows")
    options = parser.parse_args()
    found = reports(options) if options.command == "reports" else year(options.windows, options.form)
    print(json.dumps({name: round(float(value), 4) for name, value in found.items()}, indent=1))


if __name__ == "__main__":
    main()
