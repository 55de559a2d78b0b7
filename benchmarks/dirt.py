"""A feed as it comes: reports of one window with everything that is wrong with real ones, and what is right.

Shared by the benchmark of cycles and their tests.
"""

import gzip
import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

COLUMNS = ("time", "latitude", "longitude", "station", "variable", "value", "units", "error")
SENTINELS = ("999", "9999", "-9999", "M", "-", "NaN", "null", "n/a")
TIMES = ("soon", "2020-13-45T00:00", "", "31/12/2019 23:00", "2020-01-01T25:00", "-790")
UNKNOWN_UNITS = ("furlongs", "kg", "°?", "M/S")
SHARES = {
    "sound": 0.235, "zone": 0.05, "celsius": 0.05, "fahrenheit": 0.02, "own units": 0.03, "turned": 0.02,
    "no position": 0.25, "longitude": 0.03, "huge latitude": 0.01, "sentinel": 0.04, "hot": 0.02,
    "infinite": 0.01, "huge": 0.01, "no time": 0.03, "neighbour": 0.05, "years off": 0.02,
    "far future": 0.005, "negative error": 0.02, "no error": 0.02, "huge error": 0.005,
    "sentinel error": 0.02, "unknown variable": 0.02, "unknown units": 0.02, "text": 0.02,
}  # fmt: skip
"""Kind of record -> its share of those that are no copies."""
CLASSES = {
    "no position": "no_position", "longitude": "no_position", "huge latitude": "no_position",
    "sentinel": "no_value", "hot": "out_of_bounds", "infinite": "no_value", "huge": "no_value",
    "no time": "no_time", "neighbour": "elsewhere", "years off": "no_window", "far future": "no_time",
    "negative error": "bad_error", "huge error": "bad_error", "unknown variable": "unknown_variable",
    "unknown units": "unknown_units", "text": "no_value",
}  # fmt: skip
"""Kind of record -> the class in which it ends; the others are used. `elsewhere`: of the window before."""
COPIES = 0.2
"""Share of records that repeat a station, hour and value."""


def feed(count: int, end: pd.Timestamp, seed: int = 0, hours: int = 6) -> pd.DataFrame:
    """Return records of the `hours` up to `end` as texts, with `kind`, `expected` and the `truth` in K."""
    rng = np.random.default_rng(seed)
    base = count - int(count * COPIES)
    names = list(SHARES)
    kind = rng.choice(names, base, p=np.array(list(SHARES.values())) / sum(SHARES.values()))
    moment = end - pd.to_timedelta(rng.integers(0, hours * 3600, base), unit="s")
    truth = np.round(280 + 10 * np.clip(rng.standard_normal(base), -4, 4), 2)
    table = pd.DataFrame(
        {
            "time": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "latitude": np.char.mod("%.3f", rng.uniform(-89.4, 89.4, base)),
            "longitude": np.char.mod("%.3f", rng.uniform(-180, 180, base)),
            "station": np.char.mod(f"{seed}S%07d", np.arange(base)),
            "variable": "t",
            "value": np.char.mod("%.2f", truth),
            "units": "",
            "error": "1.0",
            "kind": kind,
            "truth": truth,
        }
    ).astype({"time": object})
    for name, change in _changes(rng, moment).items():
        rows = np.flatnonzero(kind == name)
        for column, values in change(table, rows).items():
            table.loc[rows, column] = values
    table["expected"] = table["kind"].map(CLASSES).fillna("used")
    copies = table[table["kind"] == "sound"].sample(count - base, replace=True, random_state=seed)
    return pd.concat([table, copies.assign(expected="duplicate")], ignore_index=True)


Change = Callable[[pd.DataFrame, np.ndarray], Mapping[str, object]]


def _changes(rng: np.random.Generator, moment: pd.DatetimeIndex) -> Mapping[str, Change]:
    def pick(texts: tuple[str, ...], rows: np.ndarray) -> np.ndarray:
        return np.array(texts, dtype=object)[rng.integers(0, len(texts), len(rows))]

    def local(table: pd.DataFrame, rows: np.ndarray) -> Mapping[str, object]:
        here = moment[rows] + pd.Timedelta(hours=5, minutes=30)
        return {"time": here.strftime("%Y-%m-%d %H:%M:%S+05:30")}

    def shifted(hours: float) -> Change:
        return lambda table, rows: {
            "time": (moment[rows] - pd.Timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%S")
        }

    def converted(units: str, scale: float, offset: float) -> Change:
        return lambda table, rows: {
            "value": np.char.mod("%.4f", table["truth"].to_numpy()[rows] * scale + offset),
            "units": units,
            "error": f"{scale:g}",
        }

    def constant(**columns: object) -> Change:
        return lambda table, rows: columns

    return {
        "zone": local,
        "celsius": converted("C", 1, -273.15),
        "fahrenheit": converted("degF", 1.8, -459.67),
        "own units": constant(units="K"),
        "turned": lambda table, rows: {
            "longitude": np.char.mod("%.3f", table["longitude"].to_numpy()[rows].astype(float) % 360)
        },
        "no position": constant(latitude=""),
        "longitude": constant(longitude="-790"),
        "huge latitude": constant(latitude="1e300"),
        "sentinel": lambda table, rows: {"value": pick(SENTINELS, rows)},
        "hot": constant(value="400"),
        "infinite": lambda table, rows: {"value": pick(("inf", "-Infinity", "1e999"), rows)},
        "huge": lambda table, rows: {"value": pick(("9.96921e36", "-1e300"), rows)},
        "no time": lambda table, rows: {"time": pick(TIMES, rows)},
        "neighbour": shifted(6),
        "years off": shifted(24 * 3650),
        "far future": constant(time="9999-12-31T23:59:59Z"),
        "negative error": lambda table, rows: {"error": pick(("-1.0", "0", "-inf"), rows)},
        "no error": constant(error=""),
        "huge error": lambda table, rows: {"error": pick(("inf", "1e200", "1e-200"), rows)},
        "sentinel error": constant(error="-9999"),
        "unknown variable": lambda table, rows: {"variable": pick(("T2M", "", "t;", "wind"), rows)},
        "unknown units": lambda table, rows: {"units": pick(UNKNOWN_UNITS, rows)},
        "text": lambda table, rows: {"value": pick(("warm", "28O.1", "0x118", "2_80", "--280"), rows)},
    }


STYLES = (
    "plain", "bom", "semicolon", "tab", "crlf", "quoted", "capitals", "latin", "utf-16", "gzip",
    "members", "parquet",
)  # fmt: skip


def deliver(records: pd.DataFrame, path: Path, style: str) -> Path:
    """Write records as one file of a style; return its path."""
    table = records[list(COLUMNS)]
    if style == "parquet":
        path = path.with_suffix(".parquet")
        table.to_parquet(path)
        return path
    if style == "capitals":
        table = table.rename(columns={name: f" {name.upper()} " for name in COLUMNS})
    if style == "quoted":
        # A remark over two lines, with a separator and quotes in it.
        table = table.assign(remark='said "hm",\nand went')
    if style == "latin":
        table = table.assign(remark="Zürich")
    separator = {"semicolon": ";", "tab": "\t"}.get(style, ",")
    if style == "semicolon":
        plain = table["value"].str.fullmatch(r"-?\d+\.\d+")
        table = table.assign(value=table["value"].where(~plain, table["value"].str.replace(".", ",")))
    text = table.to_csv(index=False, sep=separator, lineterminator="\r\n" if style == "crlf" else "\n")
    encoding = {"bom": "utf-8-sig", "latin": "latin-1", "utf-16": "utf-16"}.get(style, "utf-8")
    content = text.encode(encoding, errors="replace")
    if style in ("gzip", "members"):
        path = path.with_suffix(".csv.gz")
        half = content.find(b"\n", len(content) // 2) + 1 if style == "members" else 0
        content = gzip.compress(content[:half]) * (half > 0) + gzip.compress(content[half:])
    path.write_bytes(content)
    return path


SPOILT = (
    "2020-01-01T05:40:00,3,1.0,5\n",
    "2020-01-01T05:40:00,3,1.0,X,t,280,K,1,5,6,7,8,9\n",
    "2020-01-01T05:40:00,3,1\0\0\0,Z,t,280,K,1\n",
    '2020-01-01T05:40:00,3,1,"Y,t,280,K,1\n',
)
"""Lines that are no records of eight fields."""


def spoil(path: Path) -> int:
    """Put malformed lines, comments, headers and blank lines into a plain table; return how many fit nowhere.

    A second header has its columns in another order, as have the records that follow it.
    """
    lines = path.read_text().splitlines(keepends=True)
    header, rows = lines[0], lines[1:]
    third = len(rows) // 3
    turned = [
        ",".join(reversed(line.rstrip("\n").split(","))) + "\n" for line in [header, *rows[2 * third :]]
    ]
    parts = [
        header,
        *rows[:third],
        *SPOILT[:2],
        header,
        "# a remark, with 2 fields\n",
        "\n",
        *rows[third : 2 * third],
    ]
    path.write_text("".join([*parts, *SPOILT[2:], *turned]))
    return len(SPOILT)


def unreadable(folder: Path) -> dict[str, str]:
    """Make files of which nothing can be used; return name -> a word of the fault that is told."""
    good = b"time,latitude,longitude,variable,value\n2020-01-01T05:00,1,2,t,280\n"
    packed = gzip.compress(good * 1000)
    (folder / "empty.csv").write_bytes(b"")
    (folder / "blank.csv").write_bytes(b"\n\n  \n# nothing\n")
    (folder / "picture.csv").write_bytes(bytes(range(256)) * 3)
    (folder / "zeros.csv").write_bytes(b"\0" * 5000)
    (folder / "cut.csv.gz").write_bytes(packed[: len(packed) // 2])
    (folder / "damaged.csv.gz").write_bytes(packed[:20] + b"\xff" * 20 + packed[40:])
    (folder / "bomb.csv.gz").write_bytes(bomb(300 * 2**20))
    (folder / "no-columns.csv").write_bytes(b"a,b\n1,2\n")
    (folder / "folder.csv").mkdir()
    (folder / "folder.csv" / "inside.csv").write_bytes(good)
    (folder / "loop.csv").symlink_to(folder / "loop.csv")
    os.mkfifo(folder / "pipe.csv")
    (folder / "cut.parquet").write_bytes(b"PAR1 and no more")
    (folder / "cut.nc").write_bytes(b"CDF\x01 and no more")
    (folder / "cut.bufr").write_bytes(b"BUFR and no more")
    (folder / "cut.odb").write_bytes(b"\xff\xffODA and no more")
    return {
        "empty.csv": "no line", "blank.csv": "no line", "picture.csv": "no line",
        "zeros.csv": "no line", "cut.csv.gz": "cut short", "damaged.csv.gz": "damaged",
        "bomb.csv.gz": "unpacks", "no-columns.csv": "column of times", "folder.csv": "folder",
        "cut.bufr": "no BUFR message", "loop.csv": "Error", "pipe.csv": "no file", "cut.parquet": "",
        "cut.nc": "", "cut.odb": "",
    }  # fmt: skip


def bomb(size: int) -> bytes:
    """Return a small gzip file that unpacks to so many bytes."""
    content = io.BytesIO()
    with gzip.GzipFile(fileobj=content, mode="wb", compresslevel=1) as file:
        for _ in range(size // 2**20):
            file.write(b"\n" * 2**20)
    return content.getvalue()
