"""The Prefect flow `cycle`: one tick of an assimilation cycle, the windows that are due in order."""

import json
import os
from datetime import datetime
from typing import Any

import pandas as pd
from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.events import emit_event
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from flows import webhook
from flows.cycle import line, make, moment_of
from koopcast.cycles.archive import Manifest
from koopcast.cycles.work import Work
from koopcast.errors import KoopcastError
from koopcast.redaction import redact_logs, redacted
from tasks.cycle import outcomes, tick

WAIT_SECONDS = 3600.0
"""How long a run without a slot of the server waits at the archive for another one of the same cycle."""


def _run_name() -> str:
    return str(flow_run.parameters["cycle"]).rsplit("/", 1)[-1].removesuffix(".yaml")


@flow(name="cycle", flow_run_name=_run_name, persist_result=False, validate_parameters=True)
def cycle(
    cycle: str,
    overrides: list[str] = [],  # noqa: B006
    store: str | None = None,
    until: str | None = None,
    force: str | None = None,
) -> State[dict[str, Any]]:
    """Analyse the windows that are due at the scheduled time of the run, oldest first.

    What is due comes from the archive, so that windows missed by a server or a worker that was down are made
    up for. A failed expectation is a failed flow run whose message holds the numbers.

    Args:
        cycle: Path of the YAML file.
        overrides: Options such as method.members=40.
        store: Root of the store; default KOOPCAST_STORE or ./runs.
        until: Moment up to which windows are due, UTC; default: as scheduled.
        force: Label of a window to analyse again.
    """
    redact_logs()
    logger = get_run_logger()
    name = cycle
    try:
        prepared = make(cycle, overrides, store)
        name = prepared.cycle.name
        moment = moment_of(until) if until is not None else _scheduled()

        def then(work: Work, manifest: Manifest) -> None:
            logger.info(line(manifest, work))

        ticked = tick(prepared, moment, force=force, wait=WAIT_SECONDS, then=then)
    except Exception as error:
        _tell(name, "failed", str(error) if isinstance(error, KoopcastError) else repr(error))
        raise
    for note in ticked.notes:
        logger.warning(note)
    rows = [_row(manifest) for manifest in ticked.done]
    if rows:
        create_table_artifact(table=rows, key="windows", description=f"Windows of {name}")
    gaps = [manifest.label for manifest in ticked.done if manifest.source == "forecast"]
    if gaps:
        _tell(name, "gap", f"nothing was observed in {', '.join(gaps)}")
    failed = [gate for gate in outcomes(prepared.cycle, ticked.done) if not gate.holds]
    if failed:
        told = "; ".join(f"{gate.text} does not hold (left side: {gate.value:.4g})" for gate in failed)
        _tell(name, "expectation-failed", told)
        return Failed(message=told)
    done = [manifest.label for manifest in ticked.done]
    return Completed(message=f"{len(done)} windows, {ticked.remaining} left", data={"done": done})


def _scheduled() -> pd.Timestamp:
    """Return when the run was to start: late or not, it looks at the same windows."""
    moment = flow_run.scheduled_start_time
    assert isinstance(moment, datetime)
    return pd.Timestamp(moment).tz_convert("UTC").tz_localize(None)


def _row(manifest: Manifest) -> dict[str, Any]:
    monitors = manifest.values["monitors"]
    seen = manifest.values["observations"]
    return {"window": manifest.label, "source": manifest.source, "used": seen.get("used", 0), **monitors}


def _tell(name: str, what: str, text: str) -> None:
    """Raise an event of the server, for its automations, and call the webhook that the environment names.

    The address of a webhook is a secret: it is taken from `KOOPCAST_WEBHOOK` and shown nowhere.
    """
    text = redacted(text)
    emit_event(
        event=f"koopcast.cycle.{what}",
        resource={"prefect.resource.id": f"koopcast.cycle.{name}", "prefect.resource.name": name},
        payload={"text": text},
    )
    address = os.environ.get("KOOPCAST_WEBHOOK", "")
    if not address:
        return
    body = json.dumps({"cycle": name, "event": what, "text": f"{name}: {text}"}).encode()
    if fault := webhook.call(address, body):
        get_run_logger().warning("the webhook was not reached (%s)", fault)
