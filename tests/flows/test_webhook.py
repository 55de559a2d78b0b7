"""A webhook gets the text, and can neither hold a tick up nor tell its address."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import pytest

from flows import webhook

STOP = Event()


class Answers(BaseHTTPRequestHandler):
    """Answers as the path says, and notes what it got."""

    got: list[tuple[str, str, str | None, bytes]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._note("POST", body)
        if self.path == "/drops":
            for letter in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100 + b"\r\n\r\n":
                self.wfile.write(bytes([letter]))
                if STOP.wait(0.05):
                    return
            return
        if self.path == "/nonsense":
            self.wfile.write(b"\x00\xff nonsense\r\n\r\n")
            return
        self.send_response({"/moved": 302, "/broken": 500}.get(self.path, 204))
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def do_GET(self) -> None:
        self._note("GET", b"")
        self.send_response(204)
        self.end_headers()

    def _note(self, verb: str, body: bytes) -> None:
        self.got.append((verb, self.path, self.headers["Authorization"], body))

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def place() -> Iterator[str]:
    """HOST:PORT of a server."""
    Answers.got.clear()
    STOP.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    STOP.set()
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_text_arrives_with_the_name_and_the_password_of_the_address(place: str) -> None:
    assert webhook.call(f"http://{place}/plain\n", b"{}") == ""
    assert webhook.call(f"http://me:p%40ss-w0rd@{place}/known", b'{"a": 1}') == ""
    basic = "Basic bWU6cEBzcy13MHJk"
    assert Answers.got == [("POST", "/plain", None, b"{}"), ("POST", "/known", basic, b'{"a": 1}')]


def test_a_redirection_is_told_and_not_followed(place: str) -> None:
    """Followed, it would lose the text and look as if it had arrived."""
    assert webhook.call(f"http://{place}/moved", b"{}") == "it answered 302"
    assert [(verb, path) for verb, path, *_ in Answers.got] == [("POST", "/moved")]
    assert webhook.call(f"http://{place}/broken", b"{}") == "it answered 500"


def test_one_that_answers_drop_by_drop_is_left(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes well within the time limit of a socket, the last one after six seconds."""
    monkeypatch.setattr(webhook, "SECONDS", 0.5)
    assert webhook.call(f"http://{place}/drops", b"{}") == "no answer within 0.5 s"


def test_an_address_that_is_none_and_an_answer_that_is_none_raise_nothing(place: str) -> None:
    for address in (
        "file:///etc/passwd",
        "hooks.example.org/secret",
        "http://[::1/secret",
        "http://127.0.0.1:secret/",
        "http://127.0.0.1:1/secret",
        "http:///secret",
        f"http://{place}/a secret\x7f",
        f"http://{place}/nonsense",
    ):
        fault = webhook.call(address, b"{}")
        assert fault.isidentifier(), (address, fault)
        assert "secret" not in fault
