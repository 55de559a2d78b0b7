"""Secrets of the environment are in no log line, report or lock file."""

import io
import json
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


def test_passwords_of_other_variables_and_in_other_addresses_are_secrets_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://me:endp0int-w0rd@minio:9000")
    monkeypatch.setenv("PREFECT_SERVER_DATABASE_PASSWORD", "d4tabase-w0rd")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "Eby8vdM02xNOcqFlqUwJPL==")
    monkeypatch.setenv("POSTGRES_PASSWORD", "prefect")
    text = "GET http://me:endp0int-w0rd@minio:9000/b by d4tabase-w0rd, Eby8vdM02xNOcqFlqUwJPL=="
    assert redacted(text) == "GET http://me:REDACTED@minio:9000/b by REDACTED, REDACTED"
    assert redacted("prefect==3.8.8") == "prefect==3.8.8"


def test_a_secret_that_ends_a_line_or_holds_quotes_is_found_as_it_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PREFECT_API_KEY", "pnu_9876543210\n")
    assert redacted(f"Invalid header value {b'Bearer pnu_9876543210' + bytes([10])!r}").count("pnu_") == 0
    word = 'it\'s-"a"-\\w0rd-\u00e9'
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", f"admin:{word}")
    content = ReportContent("x", warnings=[word], yaml=word)
    for text in (
        word, repr(word), json.dumps(word), json.dumps(word, ensure_ascii=False), word.replace("'", "''"),
        render(content), lock_text({"command": word}),
    ):  # fmt: skip
        assert "w0rd" not in redacted(text)


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
