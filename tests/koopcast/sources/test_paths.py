"""Paths that files name: where they start, and that they stay in the roots."""

import os
from functools import partial
from pathlib import Path

import pytest

from koopcast.cycles.clock import Clock, parse_moment
from koopcast.cycles.feed import TableInboxSpec
from koopcast.cycles.inbox import Inbox
from koopcast.errors import MissingFile, OutsideRoots
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.sources.paths import demand_inside, matches, resolve
from koopcast.times import parse_duration
from schemas.cycle import load_cycle
from schemas.faults import PipelineInvalid
from schemas.pipeline import load

INGEST = "name: a\nsteps:\n  d: {{task: ingest, source: {{kind: netcdf, path: {path}}}, variables: [t]}}\n"
CYCLE = """name: c
model: runs://ring/latest/truth.system
observations: {{kind: table, path: '{path}'}}
method: {{kind: etkf, members: 4}}
cycle: {{start: 2020-01, step: P1M}}
"""


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The one root, beside a folder that is none; here is where we work."""
    (tmp_path / "data" / "inbox").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "secret.csv").write_text("time,x,value\n2020-01-01,1,2\n")
    (tmp_path / "more").mkdir()
    monkeypatch.setenv("KOOPCAST_ROOTS", os.pathsep.join([str(tmp_path / "data"), str(tmp_path / "more")]))
    monkeypatch.chdir(tmp_path / "data")
    return tmp_path / "data"


def faults(file: Path, text: str) -> list[str]:
    file.write_text(text)
    read = partial(load_cycle, overrides=(), lookup=pytest.fail) if "cycle:" in text else load
    with pytest.raises(PipelineInvalid) as caught:
        read(file)
    return [str(fault) for fault in caught.value.faults]


@pytest.mark.parametrize(
    "path", ["../other/x.nc", "../other/*.nc", "../../*/x.nc", "/etc/*", "~/x.nc", "link/x.nc"]
)
@pytest.mark.parametrize("text", [INGEST, CYCLE])
def test_a_path_that_leads_out_of_the_roots_is_refused_at_its_option(
    data: Path, path: str, text: str
) -> None:
    (data / "link").symlink_to("../other")
    found = faults(data / "x.yaml", text.format(path=path))
    wanted = ("3:50", "steps.d.source.path") if text == INGEST else ("3:35", "observations.path")
    assert found[0].startswith(f"{data / 'x.yaml'}:{wanted[0]}  {wanted[1]}: ")
    assert f"in none of the roots ({data}, {data.parent / 'more'}); move it there, or add" in found[0]


def test_paths_below_a_root_are_taken(data: Path) -> None:
    (data / "here.nc").write_bytes(b"")
    assert resolve(str(data / "inbox/../here.nc")) == [data / "inbox/../here.nc"]
    assert resolve([str(data / "*.nc")]) == [data / "here.nc"]
    (data / "inside").symlink_to("here.nc")
    assert demand_inside(data / "inside") == data / "inside"


def test_without_roots_every_path_is_taken(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KOOPCAST_ROOTS")
    assert resolve("../other/secret.csv") == [Path("../other/secret.csv")]


def test_a_file_that_is_a_link_out_of_the_roots_is_not_read(data: Path) -> None:
    (data / "inbox" / "a.csv").symlink_to(data.parent / "other" / "secret.csv")
    with pytest.raises(OutsideRoots, match=r"a\.csv' leads to '.*other/secret\.csv', which lies in none"):
        resolve(str(data / "inbox" / "*.csv"))
    fields = FieldsInfo({"t": "1"}, (Axis("x", 4),), TimeAxis(3, 1.0))
    clock = Clock(parse_moment("2020-01"), *map(parse_duration, ("P1M", "-P1M", "P1M", "PT0S")))
    spec = TableInboxSpec.model_validate({"path": "inbox/*.csv", "settle": 0}, context={"folder": data})
    inbox = Inbox(spec, fields, clock, data / "kept")
    inbox.scan()
    ((path, fault),) = inbox.faults().items()
    assert path == str(data / "inbox/a.csv")
    assert "in none of the roots" in fault


def test_a_store_that_holds_a_link_out_of_the_roots_is_not_read(data: Path) -> None:
    (data / "a.zarr" / "t").mkdir(parents=True)
    (data / "a.zarr" / "t" / "c").symlink_to(data.parent / "other")
    with pytest.raises(OutsideRoots, match=r"a\.zarr/t/c' leads to"):
        resolve("a.zarr")


def test_a_file_and_what_it_extends_lie_in_the_roots(data: Path) -> None:
    outside = data.parent / "other" / "base.yaml"
    outside.write_text("name: b\n")
    (found,) = faults(data / "x.yaml", "name: a\nextends: ../other/base.yaml\n")
    assert found.startswith(f"{data / 'x.yaml'}:2:10  extends: '{data / '../other/base.yaml'}' leads to")
    (found,) = faults(outside, "name: b\nsteps: {}\n")
    assert f"'{outside}' lies in none of the roots" in found


def test_the_store_lies_in_the_roots(data: Path) -> None:
    from flows.prepare import store_root

    assert store_root(str(data / "runs")) == str(data / "runs")
    with pytest.raises(OutsideRoots, match="other"):
        store_root(str(data.parent / "other"))


@pytest.mark.parametrize("name", ["../../secret.csv", "//etc/passwd", "x/../../../x", "data/../../.."])
def test_a_package_gives_nothing_but_its_own_files(name: str) -> None:
    with pytest.raises(MissingFile, match="holds no file"):
        resolve(f"pkg://koopcast/{name}")


def test_a_package_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trap").mkdir()
    (tmp_path / "trap" / "__init__.py").write_text("raise SystemExit('imported')")
    (tmp_path / "trap" / "a.nc").write_bytes(b"")
    monkeypatch.syspath_prepend(tmp_path)
    assert resolve("pkg://trap/a.nc") == [tmp_path / "trap" / "a.nc"]


@pytest.mark.parametrize("pattern", ["**.csv", "a/**b/*", "[", "x\0y", "*" * 30])
def test_any_pattern_can_be_looked_for(data: Path, pattern: str) -> None:
    assert [path for path in matches(pattern) if path.name != "inbox"] == []


def test_a_home_of_nobody_is_a_fault_of_the_option(data: Path) -> None:
    (found,) = faults(data / "x.yaml", CYCLE.format(path="~nobody-here/x.csv"))
    assert "observations.path: Could not determine home directory" in found


def test_a_folder_is_no_pattern_whatever_its_name(data: Path) -> None:
    (data / "[prod] a?" / "inbox").mkdir(parents=True)
    (data / "[prod] a?" / "inbox" / "a.csv").write_text("")
    for path, found in (("inbox/*.csv", 1), ("inbox/a.csv", 1), ("inbox/[a-c].csv", 1), ("inbox/c.csv", 0)):
        context = {"folder": data / "[prod] a?"}
        spec = TableInboxSpec.model_validate({"path": path}, context=context)
        assert isinstance(spec.path, str)
        assert len(matches(spec.path)) == found
    (found_fault,) = faults(data / "[prod] a?" / "x.yaml", CYCLE.format(path="../../other/*.csv"))
    assert "in none of the roots" in found_fault


def test_reports_on_another_machine_are_refused(data: Path) -> None:
    (found,) = faults(data / "x.yaml", CYCLE.format(path="s3://bucket/inbox/*.csv"))
    assert found.startswith(f"{data / 'x.yaml'}:3:35  observations.path: 's3://bucket/inbox/*.csv' is not on")


def test_a_file_with_the_name_of_a_pattern_is_found(data: Path) -> None:
    (data / "b[1].csv").write_text("")
    assert matches("b[1].csv") == [data / "b[1].csv"]
