"""The Prefect settings that Koopcast chooses; what a person has set already wins."""

import os

from koopcast.redaction import redact_logs

STARTUP_SECONDS = 120
"""How long a server may take to start: a first start on two busy cores was seen to need 100 s."""

CLIENT: dict[str, str] = {
    # Nothing is sent to anyone: neither the server's heartbeat nor the client's milestones.
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_TELEMETRY_ENABLE_RESOURCE_METRICS": "false",
    # The steps of a run are shown by Koopcast; Prefect's own log goes to its server and not to the terminal.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_HANDLERS_DEBUG_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_CLI_PROMPT": "false",
    # A request to a server that died ends after 2 + 4 + 8 s of retries (Prefect's own: 62 s), one to a server
    # that accepts and never answers after four times 20 s and those retries (Prefect's own: 422 s).
    "PREFECT_CLIENT_MAX_RETRIES": "3",
    "PREFECT_API_REQUEST_TIMEOUT": "20",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": str(STARTUP_SECONDS),
}

SERVER: dict[str, str] = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    # SQLite under load: wait for the lock instead of answering "database is locked".
    "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
    # Who holds a slot of a deployment stays known when the server restarts. Kept in its memory alone, the
    # slot of a run that was killed together with the server would never be free again.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
}

TEMPORARY_SERVER: dict[str, str] = {
    **SERVER,
    # Nobody looks at it, nothing is scheduled on it: start without what takes time.
    "PREFECT_SERVER_UI_ENABLED": "false",
    "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
    "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_FOREMAN_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "false",
}

WORKER: dict[str, str] = {
    **CLIENT,
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "INFO",
    "PREFECT_LOGGING_HANDLERS_DEBUG_LEVEL": "INFO",
    # Prefect asks for work every 10 s; a server on the same machine can bear more.
    "PREFECT_WORKER_QUERY_SECONDS": "2",
    # A worker outlives restarts of its server.
    "PREFECT_CLIENT_MAX_RETRIES": "5",
}


def environment() -> dict[str, str]:
    """Return the settings for a process that talks to a Prefect server."""
    return {name: value for name, value in CLIENT.items() if name not in os.environ} | _no_proxy()


def prepare() -> None:
    """Put `environment()` into this process; call it before the first import of prefect. From then on its
    log holds no secret.
    """
    os.environ.update(environment())
    redact_logs()


def inherited(*without: str) -> dict[str, str]:
    """Return the environment of this process less what `prepare` added and less some names."""
    return {
        name: value for name, value in os.environ.items() if CLIENT.get(name) != value and name not in without
    }


def _no_proxy() -> dict[str, str]:
    """Keep requests to this machine away from a proxy, where one is configured."""
    if not any(os.environ.get(name) for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")):
        return {}
    hosts = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""
    listed = [host.strip() for host in hosts.split(",") if host.strip()]
    wanted = listed + [host for host in ("127.0.0.1", "localhost") if host not in listed]
    return {"NO_PROXY": ",".join(wanted), "no_proxy": ",".join(wanted)}
