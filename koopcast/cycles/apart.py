"""Reads netCDF files in a process of its own: the libraries below die of some damaged ones.

`python -m koopcast.cycles.apart FILE TABLE LAYOUT` writes the table and prints its units or a fault as JSON.
"""

import json
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from koopcast.cycles.reports import Layout
from koopcast.errors import DataError

SECONDS = 600.0
"""For one file."""


def read_apart(path: Path, layout: Layout) -> pd.DataFrame:
    """Return the table in a netCDF file, its `units` in `attrs`.

    Raises:
        DataError: It is damaged, too large, or not what `layout` looks for.
    """
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "table.parquet"
        command = [sys.executable, "-m", __name__, str(path), str(table), json.dumps(asdict(layout))]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise DataError(
                f"'{path.name}' takes its reader more than {SECONDS:.0f} s", "split it"
            ) from error
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or [f"signal {-done.returncode}"])[-1]
            raise DataError(f"'{path.name}' is damaged ({last[:200]})", "deliver it again")
        said = json.loads(done.stdout)
        if "fault" in said:
            raise DataError(*said["fault"])
        result = pd.read_parquet(table)
    result.attrs["units"] = said["units"]
    return result


def main() -> None:
    """Read the file that the command line names."""
    import xarray as xr

    from koopcast.cycles.readers import flat

    path, table, options = sys.argv[1:]
    layout = Layout(**json.loads(options))
    try:
        with xr.open_dataset(path, engine="netcdf4", decode_times=False) as dataset:
            result = flat(dataset, layout)
    except DataError as error:
        print(json.dumps({"fault": [error.message, error.remedy]}))
        return
    result.to_parquet(table, index=False)
    print(json.dumps({"units": result.attrs["units"]}))


if __name__ == "__main__":
    main()
