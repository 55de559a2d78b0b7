"""How a window of a cycle grows: seconds, memory and bytes by grid, members and reports, for the LETKF.

Global latitude-longitude grids of one variable, a model that leaves fields as they are (measured are the
analysis and the archive, not a model), reports at random places, radius 4 degrees.

python benchmarks/scaling.py [--rows 45 90] [--members 10 40] [--reports 2000 8000]
"""

import argparse
import itertools
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from cycle import Persistence, clock, globe

from koopcast.assimilation.initial import ClimatologySpec
from koopcast.assimilation.letkf import LETKFSpec
from koopcast.cycles.archive import Archive
from koopcast.cycles.chain import Chain
from koopcast.cycles.reports import Reason
from koopcast.stores.durable import num_bytes


def reports(count: int, moment: pd.Timestamp) -> pd.DataFrame:
    """Return reports at random places, as an inbox would give them."""
    rng = np.random.default_rng(2)
    return pd.DataFrame(
        {
            "time": moment,
            "latitude": np.degrees(np.arcsin(rng.uniform(-1, 1, count))),
            "longitude": rng.uniform(0, 360, count),
            "value": 280 + 10 * rng.standard_normal(count),
            "error": 1.0,
            "variable": "t",
            "station": "",
            "qc": "",
            "received_at": pd.NaT,
            "reason": np.int8(Reason.USED),
        }
    )


def window(rows: int, members: int, count: int) -> dict[str, float]:
    """Return what one window costs."""
    fields = globe((rows, 2 * rows))
    method = LETKFSpec(members=members, localization={"kind": "gaspari_cohn", "radius": 4.0})
    chain = Chain(Persistence(fields.info), method, ClimatologySpec(), fields, clock(), 1, 0)
    placed = chain.places.place(reports(count, chain.clock.label(0)))
    with tempfile.TemporaryDirectory() as name:
        archive = Archive(Path(name) / "archive")
        archive.open({})
        state = chain.first()
        folder = archive.scratch()
        begin = time.process_time()
        values, analysed_fields = chain.run(0, state, placed, folder)
        seconds = time.process_time() - begin
        analysed = time.perf_counter()
        manifest = archive.publish(
            "20200101T060000Z", folder, {"previous": "start", **values}, analysed_fields
        )
        published = time.perf_counter()
        size = num_bytes(archive.folder(manifest))
    points = 2 * rows * rows
    return {
        "points": points,
        "members": members,
        "reports": count,
        "CPU seconds": seconds,
        "points a CPU second": points / seconds,
        "ns a point and report": 1e9 * seconds / points / count,
        "seconds to publish": published - analysed,
        "MB": size / 1e6,
        "MB/s": size / 1e6 / (published - analysed),
        "peak GB of the process so far": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def main() -> None:
    """Measure each combination and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[45, 90])
    parser.add_argument("--members", type=int, nargs="+", default=[10, 40])
    parser.add_argument("--reports", type=int, nargs="+", default=[2000, 8000])
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    window(10, 4, 20)  # what is imported and compiled at first use
    for rows, members, count in itertools.product(options.rows, options.members, options.reports):
        found = window(rows, members, count)
        print(json.dumps({name: round(value, 3) for name, value in found.items()}), flush=True)


if __name__ == "__main__":
    main()
