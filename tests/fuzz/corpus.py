"""Right inputs, small, from which damage starts."""

import gzip
import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import eccodes
import numpy as np
import pandas as pd
import pyodc
import torch
import xarray as xr
from safetensors.torch import save

from koopcast.assimilation.state import CycleState
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.stores.arrays import write_fields
from koopcast.stores.artefact import FileEntry, Manifest
from koopcast.stores.runs import RunRecord, StepRecord
from schemas.load import parse
from schemas.positions import plain

ROOT = Path(__file__).parents[2]
FIELDS = FieldsInfo(
    {"t": "K", "u": "m/s"},
    (Axis("latitude", 6, "latitude"), Axis("longitude", 12, "longitude", True, 360.0)),
    TimeAxis(10, "PT6H"),
)
SMALL = b"""name: a
steps:
  t: {task: generate, system: lorenz63, steps: 20}
  m: {task: train, data: t, model: dmd}
"""
SWEPT = SMALL + (
    b"  s: {task: evaluate, of: [m], expect: ['rmse(m, lead=1) < 2']}\n"
    b"sweep: {over: {steps.m.model.rank: [1, 2, 3]}}\n"
)
CYCLE = b"""name: twin
model: runs://ring/latest/truth.system
observations: {kind: table, path: inbox/*.csv, error: {std: 0.5}, variables: {t: {bounds: [-30, 30]}}}
method: {kind: etkf, members: 16, inflation: {kind: multiplicative, factor: 1.04}, rotation: true}
cycle: {start: 2020-01-01T06:00, step: PT6H, record: PT6H, window: {begin: -PT6H, length: PT6H}, cutoff: PT1H}
forecast: {leads: [1, 2]}
schedule: {cron: "0 6 * * *"}
expect: ["chi_square_per_observation(cycle) in [0.5, 2.0]"]
"""


def pipelines() -> list[bytes]:
    """Return every pipeline of the repository that is small."""
    files = sorted((ROOT / "pipelines").glob("*.yaml"))
    return [text for text in (path.read_bytes() for path in files) if len(text) < 2500]


def cycles() -> list[bytes]:
    """Return every cycle of the repository, and a small one."""
    return [CYCLE, *(path.read_bytes() for path in sorted((ROOT / "pipelines" / "cycles").glob("*.yaml")))]


def as_json(texts: list[bytes]) -> list[bytes]:
    """Return YAML documents as JSON."""
    return [json.dumps(plain(parse(text, "corpus"))).encode() for text in texts]


def reports() -> pd.DataFrame:
    """Return a table of reports in long form."""
    moments = pd.date_range("2020-01-01T05:40", periods=8, freq="6h")
    return pd.DataFrame(
        {
            "time": moments.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "latitude": np.linspace(-20, 20, 8),
            "longitude": np.linspace(0, 300, 8),
            "station": [f"s{number % 3}" for number in range(8)],
            "variable": ["t", "u"] * 4,
            "value": np.linspace(-1, 1, 8),
            "error": [0.5, np.nan] * 4,
            "qc": ["1", ""] * 4,
            "received_at": moments.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
    )


def csv() -> list[bytes]:
    """Return tables as CSV: long, and wide with a comment."""
    wide = reports().pivot_table(index=["time", "latitude", "longitude"], columns="variable", values="value")
    return [
        reports().to_csv(index=False).encode(),
        b"# reports\n" + wide.reset_index().to_csv(index=False).encode(),
    ]


def gz() -> list[bytes]:
    """Return the same, packed."""
    return [gzip.compress(text, mtime=0) for text in csv()]


def parquet() -> list[bytes]:
    """Return a table as Parquet, its times as dates."""
    table = reports().assign(time=lambda table: pd.to_datetime(table["time"]))
    return [_written(partial(table.to_parquet, compression=codec)) for codec in (None, "zstd", "snappy")]


def odb() -> list[bytes]:
    """Return a table as ODB-2."""
    table = reports()[["latitude", "longitude", "value", "station"]].assign(date=20200101, time="2020-01-01")
    return [_written(lambda path: pyodc.encode_odb(table, str(path)))]


def bufr() -> list[bytes]:
    """Return two reports of a station as BUFR, compressed and not."""
    return [_bufr(compressed) for compressed in (0, 1)]


def _bufr(compressed: int) -> bytes:
    handle = eccodes.codes_bufr_new_from_samples("BUFR4")
    head = {"masterTablesVersionNumber": 29, "numberOfSubsets": 2, "compressedData": compressed}
    for name, value in head.items():
        eccodes.codes_set(handle, name, value)
    eccodes.codes_set_array(handle, "unexpandedDescriptors", [1001, 1002, 301011, 301012, 301021, 12101])
    for name, value in {"year": 2020, "month": 1, "day": 1, "hour": 5, "minute": 40}.items():
        eccodes.codes_set(handle, name, value)
    for name, values in {
        "latitude": [1.0, 2.0],
        "longitude": [3.0, 4.0],
        "airTemperature": [280.0, 281.0],
    }.items():
        keys = [name] if compressed else [f"#{number}#{name}" for number in (1, 2)]
        if compressed:
            eccodes.codes_set_array(handle, keys[0], values)
        else:
            for key, value in zip(keys, values, strict=True):
                eccodes.codes_set(handle, key, value)
    eccodes.codes_set(handle, "pack", 1)
    message: bytes = eccodes.codes_get_message(handle)
    eccodes.codes_release(handle)
    return message


def netcdf() -> list[bytes]:
    """Return a table and a field as netCDF, classic and netCDF-4."""
    table = reports().assign(time=lambda table: pd.to_datetime(table["time"]).dt.tz_localize(None))
    table = table[["time", "latitude", "longitude", "value"]].assign(t=lambda table: table.pop("value"))
    points = xr.Dataset.from_dataframe(table.rename_axis("report"))
    return [
        _written(partial(points.to_netcdf, format=form, engine="netcdf4"))
        for form in ("NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF4")
    ]


def zarr() -> list[bytes]:
    """Return a field as a zarr store: a JSON map from name to content."""
    times = pd.date_range("2020-01-01T05:40", periods=2, freq="6h")
    field = xr.Dataset(
        {"t": (("time", "latitude"), np.ones((2, 3)))}, {"time": times, "latitude": [-10.0, 0.0, 10.0]}
    )
    with tempfile.TemporaryDirectory() as folder:
        write_fields(Path(folder) / "x.zarr", field)
        files = sorted(path for path in (Path(folder) / "x.zarr").rglob("*") if path.is_file())
        names = {
            str(path.relative_to(Path(folder) / "x.zarr")): path.read_bytes().decode("latin-1")
            for path in files
        }
    return [json.dumps(names).encode()]


def restart() -> list[bytes]:
    """Return the state of a chain as safetensors."""
    generator = torch.Generator().manual_seed(1)
    state = CycleState(torch.ones(1, 3, 4, dtype=torch.float64), generator, 0, 0, {"a": torch.ones(2)})
    return [save(state.tensors())]


def windows() -> list[bytes]:
    """Return manifests of windows."""
    monitors = dict.fromkeys(
        ("rejection_rate", "spread", "background_spread", "increment_rms", "ob_rms", "oa_rms"), 0.5
    )
    manifest = {
        "label": "20200101T060000Z", "begin": "2020-01-01 00:00:00", "end": "2020-01-01 06:00:00",
        "previous": "start",
               "source": "analysis", "observations": {"digest": "ab" * 32, "used": 12, "duplicate": 3},
        "monitors": {**monitors, "ob_mean": None, "chi_square_per_observation": 1.0},
        "data": "20200101T060000Z-0123456789abcdef",
        "files": {"feedback.parquet": "cd" * 32, "fields.zarr/zarr.json": "ef" * 32},
    }  # fmt: skip
    return [json.dumps(manifest).encode()]


def identities() -> list[bytes]:
    """Return what `cycle.json` holds."""
    fork = {"after": "20200101T060000Z", "identity": {"options": "x"}}
    identity = {"options": "ab" * 32, "model": "cd" * 32}
    return [json.dumps({"format": 1, "identity": identity, "forks": [fork]}).encode()]


def ledgers() -> list[bytes]:
    """Return what an inbox remembers; KEY stands for that of its options."""
    entry = {
        "path": "inbox/a.csv", "bytes": 12, "modified": 10**18, "digest": "ab" * 32, "fault": "", "rows": 3,
        "rejected": {"no_time": 1}, "windows": {"0": 2},
    }  # fmt: skip
    return [
        json.dumps(
            {"key": "KEY", "files": [entry, {**entry, "path": "b", "digest": "", "fault": "x"}]}
        ).encode()
    ]


def artefacts() -> list[bytes]:
    """Return manifests of artefacts."""
    manifest = Manifest(
        kind="dataset", key="ab" * 32, spec={"task": "ingest"}, seed=1, versions={"a": "b"},
        inputs={}, external={},
        facts={"contract": {"fields": {}}}, files={"fields.json": FileEntry(size=3, sha256="cd" * 32)},
        timings={"total": 1.0}, created="2020-01-01T00:00:00Z",
    )  # fmt: skip
    return [manifest.sealed().model_dump_json().encode()]


def runs() -> list[bytes]:
    """Return records of runs."""
    step = StepRecord(kind="dataset", key="ab" * 32, state="done", digest="cd" * 32)
    record = RunRecord(
        pipeline="sst", id="1", created="2020-01-01T00:00:00Z", steps={"a": step}, scores={"x": 1.0}
    )
    return [record.model_dump_json().encode()]


def locks() -> list[bytes]:
    """Return lock files of runs."""
    steps = {
        "a": {
            "key": "ab",
            "task": "ingest",
            "options": {"x": 1},
            "inputs": {},
            "files": {},
            "code": {},
            "seed": 1,
        }
    }
    lock = {
        "reproduce": "x",
        "pipeline": {},
        "overrides": [],
        "seed": 0,
        "threads": 2,
        "versions": {"torch": "1"},
    }
    return [json.dumps({**lock, "hardware": {"cpu": "x"}, "steps": steps}).encode()]


def _written(write: Callable[[Path], object]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        write(path)
        return path.read_bytes()
