"""`koopcast deploy`: a pipeline or a cycle as a deployment of the server, with its schedule."""

import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from flows import environment
from flows.earlier import lookup
from flows.prepare import store_root
from flows.server import find_server
from koopcast.errors import EngineError, InvalidInput
from koopcast.stores.bucket import is_bucket
from schemas.cycle import load_cycle
from schemas.load import is_cycle
from schemas.pipeline import Deploy, Schedule, load

DEPLOY_SECONDS = 300
ANCHOR = pd.Timestamp("2020-01-01")
"""From which the intervals of a pipeline count, UTC."""


def deploy(file: Path, store: str | None) -> str:
    """Register a file as a deployment, or bring the one that is there up to date; return what was done.

    The file is checked whole first. A second run waits for the first (concurrency 1), unless `deploy.slot` is
    false; then that of a cycle waits at its archive.

    Raises:
        PipelineInvalid: With every fault of the file.
        InvalidInput: Its schedule has no time that comes.
        EngineError: There is no server, or it refuses.
    """
    entry = deployment(file, _address(store_root(store)))
    url = find_server()
    if url is None:
        raise EngineError(
            "there is no Prefect server", "start one with `koopcast up`, or set PREFECT_API_URL"
        )
    environment.prepare()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "prefect.yaml"
        whole = {"name": "koopcast", "pull": [_directory()], "deployments": [entry]}
        path.write_text(yaml.safe_dump(whole, sort_keys=False), encoding="utf-8")
        result = subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--prefect-file", str(path), "--name",
             str(entry["name"])],
            env={**os.environ, "PREFECT_API_URL": url},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEPLOY_SECONDS, check=False,
        )  # fmt: skip
    if result.returncode != 0:
        last = (result.stdout + result.stderr).strip().splitlines()[-1:]
        raise EngineError(f"the deployment was refused ({' '.join(last)})", "see that the server is well")
    flow = str(entry["entrypoint"]).rsplit(":", 1)[1]
    when = "".join(f", scheduled {_told(schedule)}" for schedule in entry["schedules"])
    return f"deployed {flow}/{entry['name']}{when}; prefect deployment run '{flow}/{entry['name']}'"


def _address(root: str) -> str:
    """Return the address of a store, whatever folder it is called from."""
    return root if is_bucket(root) else str(Path(root).expanduser().absolute())


def deployment(file: Path, root: str) -> dict[str, Any]:
    """Return the deployment of a file, as `prefect.yaml` writes it."""
    path = file.expanduser().absolute()
    if is_cycle(path):
        loaded = load_cycle(path, (), lookup(root))
        name, text = loaded.cycle.name, loaded.cycle.description
        schedule, options, flow = loaded.cycle.schedule, loaded.cycle.deploy, "cycle"
        anchor = loaded.cycle.cycle.clock().due_at(0)
        parameters: dict[str, Any] = {"cycle": str(path)}
        entrypoint = "flows.cycles:cycle"
    else:
        pipeline = load(path, (), lookup(root)).pipeline
        name, text, schedule, options = (
            pipeline.name,
            pipeline.description,
            pipeline.schedule,
            pipeline.deploy,
        )
        parameters, entrypoint, flow = {"pipeline": str(path)}, "flows.pipeline:pipeline", "pipeline"
        anchor = ANCHOR
    chosen = options or Deploy()
    return {
        "name": name,
        "description": text or f"The {flow} in {path.name}.",
        "entrypoint": entrypoint,
        "tags": chosen.tags,
        "parameters": {**parameters, "overrides": [], "store": root},
        "enforce_parameter_schema": True,
        "concurrency_limit": {"limit": 1, "collision_strategy": "ENQUEUE"} if chosen.slot else None,
        "schedules": _schedules(schedule, anchor),
        "work_pool": {"name": chosen.work_pool, "work_queue_name": "default"},
    }


def _schedules(schedule: Schedule | None, anchor: pd.Timestamp) -> list[dict[str, Any]]:
    if schedule is None:
        return []
    when: dict[str, Any] = {"cron": schedule.cron, "timezone": schedule.timezone}
    if schedule.cron is not None:
        _demand_times(schedule.cron, schedule.timezone)
    if schedule.every is not None:
        when = {"interval": schedule.every.total_seconds(), "anchor_date": f"{anchor.isoformat()}+00:00"}
    return [{"slug": "schedule", **when, "active": True}]


def _demand_times(cron: str, timezone: str) -> None:
    """Refuse a cron line that Prefect cannot read, or that names no day of any year: it would never run."""
    from prefect.server.schemas.schedules import CronSchedule

    try:
        asyncio.run(CronSchedule(cron=cron, timezone=timezone).get_dates(1))
    except ValueError as error:
        raise InvalidInput(
            f"schedule.cron: '{cron}' names no time that comes", "write for example '0 6 * * *'"
        ) from error


def _told(schedule: dict[str, Any]) -> str:
    if "cron" in schedule:
        return f"{schedule['cron']} ({schedule['timezone']})"
    return f"every {schedule['interval']:g} s"


def _directory() -> dict[str, Any]:
    return {"prefect.deployments.steps.set_working_directory": {"directory": str(Path.cwd())}}
