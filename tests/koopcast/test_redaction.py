"""Secrets of the environment are in no log line, report or lock file."""

import io
import logging
from collections.abc import Iterator

import pytest

from flows.lock import text as lock_text
from koopcast.redaction import redact_logs, redacted
from koopcast.report import CyclePage, ReportContent, render, render_cycle

SECRETS = {
    "KOOPCAST_WEBHOOK": "https://hooks.example.org/services/T0/B0/xyzzy",
    "PREFECT_API_AUTH_STRING": "admin:correct-horse-9",
    "PREFECT_SERVER_API_AUTH_STRING": "admin:<battery&staple>1",
    "PREFECT_SERVER_DATABASE_CONNECTION_URL": "postgresql+asyncpg://me:p%40ss-w0rd@db/prefect",
    "PREFECT_API_DATABASE_CONNECTION_URL": "postgresql+asyncpg://me:other-w0rd@db/prefect",
    "PREFECT_API_KEY": "pnu_0123456789",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "AWS_SESSION_TOKEN": "FwoGZXIvYXdzE==",
}
PARTS = [
    "xyzzy",
    "correct-horse-9",
    "battery",
    "p%40ss-w0rd",
    "p@ss-w0rd",
    "other-w0rd",
    "pnu_",
    "wJalr",
    "FwoGZ",
]
EVERYTHING = " | ".join([*SECRETS.values(), "p@ss-w0rd", "correct-horse-9"])


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    factory = logging.getLogRecordFactory()
    yield
    logging.setLogRecordFactory(factory)


def leaks(text: str) -> list[str]:
    return [part for part in PARTS if part in text]


def test_secrets_are_taken_out_of_a_text_and_the_rest_is_left() -> None:
    assert leaks(EVERYTHING) == PARTS
    assert leaks(redacted(EVERYTHING)) == []
    assert redacted("admin me prefect db: 1") == "admin me prefect db: 1"


def test_short_values_and_plain_words_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_KEY", "abc")
    monkeypatch.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", "postgresql://prefect:prefect@db/prefect")
    assert redacted("abc: prefect==3.8.8") == "abc: prefect==3.8.8"
    assert redacted("at postgresql://prefect:prefect@db/prefect") == "at REDACTED"


def test_log_lines_and_tracebacks_hold_none() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    log = logging.getLogger("a.library.below")
    log.propagate = False
    log.addHandler(handler)
    redact_logs()
    redact_logs()
    log.warning("to %s with %d", EVERYTHING, 7)
    log.warning(EVERYTHING + "%")
    try:
        raise ValueError(EVERYTHING)
    except ValueError:
        log.exception("lost")
    log.removeHandler(handler)
    told = stream.getvalue()
    assert leaks(told) == []
    assert "with 7" in told
    assert told.count("REDACTED") >= 3 * len(SECRETS)
    assert "ValueError: " in told


def test_pages_and_lock_files_hold_none() -> None:
    assert leaks(render(ReportContent(EVERYTHING, warnings=[EVERYTHING], yaml=EVERYTHING))) == []
    page = CyclePage("sst", "sst", EVERYTHING, "", "look", [], [], [EVERYTHING], [EVERYTHING])
    assert leaks(render_cycle(page)) == []
    assert leaks(lock_text({"reproduce": EVERYTHING, "overrides": [EVERYTHING]})) == []
