"""A webhook: one call with a text, bounded in time; its address is a secret and shown nowhere."""

from base64 import b64encode
from http.client import HTTPException
from threading import Thread
from typing import Any
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

SECONDS = 10.0
"""How long a call may take in all, whatever the other side does."""


class _Nowhere(HTTPRedirectHandler):
    """Follows no redirection: the text would not go along."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """Refuse it."""


def call(address: str, body: bytes) -> str:
    """Post a JSON text; return why it was not taken, or nothing where it was.

    Args:
        address: `http://` or `https://`; a name and a password in it are sent as HTTP Basic.
        body: JSON.
    """
    ended = [f"no answer within {SECONDS:g} s"]

    def post() -> None:
        ended[0] = _post(address.strip(), body)

    # A time limit of a socket starts anew with each byte: what a server does drop by drop has no end.
    thread = Thread(target=post, daemon=True, name="webhook")
    thread.start()
    thread.join(SECONDS)
    return ended[0]


def _post(address: str, body: bytes) -> str:
    try:
        with build_opener(_Nowhere).open(_request(address, body), timeout=SECONDS):
            return ""
    except HTTPError as error:
        error.close()
        return f"it answered {error.code}"
    except (OSError, ValueError, HTTPException) as error:
        return type(error).__name__


def _request(address: str, body: bytes) -> Request:
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https"):
        raise ValueError("no address of the web")
    headers = {"Content-Type": "application/json"}
    if parts.username is not None:
        words = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {b64encode(words.encode()).decode()}"
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2])
    return Request(bare.geturl(), data=body, headers=headers)
