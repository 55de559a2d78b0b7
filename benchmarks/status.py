"""What it costs to say how a long cycle stands: the page of each tick, `koopcast status` and the report.

python benchmarks/status.py [--windows 1460] [--folder EMPTY_FOLDER]
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import torch
from cycle import START, clock, ticker

from koopcast.assimilation.etkf import ETKFSpec
from koopcast.assimilation.inflation import MultiplicativeSpec
from koopcast.assimilation.initial import ClimatologySpec
from koopcast.cycles.archive import Archive, Keeping
from koopcast.cycles.chain import Chain
from koopcast.cycles.work import Ticked
from koopcast.generation import Run, SystemDynamics, evolve
from koopcast.integrators.rk4 import RK4Spec
from koopcast.systems.lorenz96 import Lorenz96Spec
from schemas.cycle import Cycle
from tasks.standing import remember, standing
from tasks.status import climatology_of, write_page, write_report

T = TypeVar("T")
OPTIONS = {
    "name": "year",
    "model": "runs://ring/latest/truth.system",
    "observations": {"kind": "table", "path": "inbox/*.csv"},
    "method": {"kind": "etkf"},
    "cycle": {"start": f"{START:%Y-%m-%dT%H:%M}", "step": "PT6H", "record": "PT6H"},
    "forecast": {"leads": [1, 4]},
}


def measured(folder: Path, windows: int) -> dict[str, float]:
    """Return seconds of each, after windows of 40 reports, with forecasts of two leads."""
    setup = Run(Lorenz96Spec(), RK4Spec(), samples=1, steps=windows + 1, burn_in=400)
    truth = evolve(setup, seed=1, dtype="float64")
    values = truth.tensor(dtype=torch.float64)[0, :, :, 0].numpy()
    (folder / "inbox").mkdir()
    numbers, rng = np.arange(windows), np.random.default_rng(3)
    table = pd.DataFrame(
        {
            "time": np.repeat(START + pd.to_timedelta(6 * numbers, unit="h"), 40),
            "state": np.tile(np.arange(40), windows),
            "station": np.tile([f"S{cell}" for cell in range(40)], windows),
            "value": (values[numbers + 1] + rng.standard_normal((windows, 40))).ravel(),
        }
    )
    table.to_csv(folder / "inbox/all.csv", index=False)
    method = ETKFSpec(members=50, inflation=MultiplicativeSpec(factor=1.02), rotation=True)
    chain = Chain(SystemDynamics(setup), method, ClimatologySpec(), truth, clock(), 1, 0, leads=(1, 4))
    work, _, archive = ticker(chain, truth, folder, Keeping())
    moments = [chain.clock.label(number) for number in (windows - 2, windows - 1)]
    found = {"windows": float(windows)}

    def page(moment: pd.Timestamp, done: Ticked) -> None:
        remember(archive, Cycle.model_validate(OPTIONS), "1", moment, done)
        write_page(archive, lambda: climatology_of(truth), moment)

    done = timed(found, "all windows", lambda: work.run(moments[0]))
    timed(found, "first page, which verifies all", lambda: page(moments[0], done))
    done = timed(found, "one more window", lambda: work.run(moments[1]))
    timed(found, "page of a tick", lambda: page(moments[1], done))
    done = timed(found, "tick with nothing due", lambda: work.run(moments[1]))
    timed(found, "its page", lambda: page(moments[1], done))
    timed(found, "status --quick", lambda: standing(archive, moments[1], deep=False))
    timed(found, "status, every file", lambda: standing(archive, moments[1]))
    timed(found, "report", lambda: write_report(archive))
    return found | sizes(archive, windows)


def timed(found: dict[str, float], name: str, work: Callable[[], T]) -> T:
    """Do some work and note its seconds."""
    begin = time.perf_counter()
    result = work()
    found[name] = time.perf_counter() - begin
    return result


def sizes(archive: Archive, windows: int) -> dict[str, float]:
    """Return bytes and files of a window."""
    files = [path for path in archive.root.rglob("*") if path.is_file()]
    return {
        "kB a window": sum(path.stat().st_size for path in files) / windows / 1000,
        "files a window": len(files) / windows,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=1460)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = measured(options.folder or Path(name), options.windows)
    print(json.dumps({name: round(value, 3) for name, value in found.items()}, indent=1))


if __name__ == "__main__":
    main()
