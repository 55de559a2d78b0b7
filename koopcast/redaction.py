"""Secrets of the environment, taken out of what is shown or kept: log lines, errors, reports, lock files."""

import json
import logging
import os
import re
from collections.abc import Callable
from html import escape
from typing import Any
from urllib.parse import quote, unquote, urlsplit

SECRETS = re.compile(
    r"KOOPCAST_WEBHOOK|PREFECT_API_KEY|PREFECT_(?:\w+_)?AUTH_STRING|\w+_CONNECTION_URL|\w*PASSWORD"
    r"|AWS_SECRET_ACCESS_KEY|AWS_SESSION_TOKEN|AZURE_\w*(?:KEY|SECRET|TOKEN)|GOOGLE_SERVICE_ACCOUNT_KEY"
)
"""Variables of the environment whose values are secrets; of the others, passwords in addresses are."""
SHORTEST = 6
"""A value that is shorter is left, as is a password of letters alone: it would stand in ordinary words."""
HIDDEN = "REDACTED"


def redacted(text: str) -> str:
    """Return a text with every secret of the environment replaced."""
    for secret in _secrets():
        text = text.replace(secret, HIDDEN)
    return text


def redact_logs() -> None:
    """Take secrets out of every log record of this process from now on, its traceback included."""
    factory = logging.getLogRecordFactory()
    if not isinstance(factory, _Redacting):
        logging.setLogRecordFactory(_Redacting(factory))


def _secrets() -> list[str]:
    """Return the values of the secrets and the passwords in them, as they may be written; longest first."""
    found: set[str] = set()
    for name, value in os.environ.items():
        whole, parts = value.strip(), set[str]()
        if SECRETS.fullmatch(name) and not (name.endswith("PASSWORD") and whole.isalpha()):
            parts = {whole, *_passwords(whole)}
        elif "://" in whole:
            parts = _passwords(whole)
        found |= {form for part in parts for form in _forms(part)}
    return sorted((text for text in found if len(text) >= SHORTEST), key=len, reverse=True)


def _forms(text: str) -> set[str]:
    """Return a text as it stands in pages, addresses, JSON, YAML and Python."""
    page = escape(text)
    told = page.replace("&quot;", "&#34;").replace("&#x27;", "&#39;")
    shown = (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], repr(text)[1:-1])
    return {text, page, told, quote(text, safe=""), text.replace("'", "''"), *shown}


def _passwords(value: str) -> set[str]:
    """Return the password of an address, or of `user:password`."""
    if "://" not in value:
        password = value.partition(":")[2]
    else:
        try:
            password = urlsplit(value).password or ""
        except ValueError:
            password = ""
    return set() if password.isalpha() else {password, unquote(password)}


class _Redacting:
    """Makes log records without secrets."""

    def __init__(self, factory: Callable[..., logging.LogRecord]) -> None:
        self._factory = factory

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record = self._factory(*args, **kwargs)
        try:
            plain = record.getMessage()
        except (TypeError, ValueError):
            # A message that does not fit its arguments is told by logging itself.
            return record
        shown = redacted(plain)
        if shown != plain:
            record.msg, record.args = shown, ()
        if record.exc_info and record.exc_info[0] is not None:
            record.exc_text = redacted(logging.Formatter().formatException(record.exc_info))
        return record
