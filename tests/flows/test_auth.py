"""A server that asks who is there: every command knows the word, and shows it to nobody."""

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import psutil
import pytest

from flows import server
from flows.environment import SERVER

ROOT = Path(__file__).parents[2]
PAIR = "admin:open-sesame-4711"
WORDS = (PAIR, "open-sesame-4711", base64.b64encode(PAIR.encode()).decode())
SMALL = """
name: small
seed: 1
threads: 1
steps:
  truth: {task: generate, system: {kind: lorenz96, points: 12}, steps: 40}
"""


@pytest.fixture
def headers() -> Iterator[tuple[str, list[str | None]]]:
    """The URL of a web server that says `true`, and the authorization of each request to it."""
    seen: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers["Authorization"])
            self.send_response(200)
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"true")

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{http.server_address[1]}/api", seen
        http.shutdown()
        thread.join()


def test_requests_carry_the_word_and_no_other_does(
    headers: tuple[str, list[str | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, seen = headers
    monkeypatch.delenv("PREFECT_API_KEY", raising=False)
    monkeypatch.delenv("PREFECT_API_AUTH_STRING", raising=False)
    assert server.probe(url) is None
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", PAIR)
    assert server.probe(url) is None
    with pytest.raises(TypeError):
        # The stub's answer is no list of workers: what counts is how it was asked.
        server._is_listed(url, "worker")
    word = f"Basic {base64.b64encode(PAIR.encode()).decode()}"
    assert seen == [None, word, word]


def test_a_server_is_told_to_listen_on_loopback_and_gets_the_word_by_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", PAIR)
    command = server.server_command("http://0.0.0.0:4711/api")
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert not any(word in part for word in WORDS for part in command)
    environment = server.server_environment(SERVER, tmp_path)
    assert environment["PREFECT_SERVER_API_AUTH_STRING"] == PAIR


def ask(url: str, path: str, word: str | None) -> Any:
    """Return what the API answers to a filter, asked with a word or none."""
    given = {} if word is None else {"Authorization": f"Basic {base64.b64encode(word.encode()).decode()}"}
    request = Request(f"{url}/{path}", data=b"{}", headers={"Content-Type": "application/json", **given})
    with build_opener(ProxyHandler({})).open(request, timeout=60) as answer:
        return json.load(answer)


def koopcast(*arguments: str, module: str = "flows.cli") -> str:
    result = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    return result.stdout


def processes(home: Path) -> list[psutil.Process]:
    """Return the processes that were started for a state directory."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("KOOPCAST_HOME") == str(home) and process.pid != os.getpid():
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.mark.server
def test_a_server_with_a_word_lets_nobody_else_in_and_keeps_it_to_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {
        "KOOPCAST_HOME": str(tmp_path / "home"),
        "KOOPCAST_STORE": str(tmp_path / "runs"),
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_SERVER_API_AUTH_STRING": PAIR,
        "PREFECT_API_AUTH_STRING": PAIR,
        "PYTHONPATH": str(ROOT),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    file = tmp_path / "small.yaml"
    file.write_text(SMALL)
    local = server.up(port=4297, start_seconds=400)
    try:
        monkeypatch.setenv("PREFECT_API_URL", local.url)
        for word in (None, "admin:wrong"):
            with pytest.raises(HTTPError) as refused:
                ask(local.url, "flow_runs/filter", word)
            assert refused.value.code == 401
            refused.value.close()
        assert ask(local.url, "flow_runs/filter", PAIR) == []
        family = processes(tmp_path / "home")
        listening = {
            connection.laddr.ip
            for process in family
            for connection in process.net_connections()
            if connection.status == psutil.CONN_LISTEN
        }
        assert listening == {"127.0.0.1"}
        told = [koopcast("deploy", str(file))]
        told.append(koopcast("deployment", "run", "pipeline/small", "--watch", module="prefect"))
        assert "finished successfully" in told[-1]
        told += [" ".join(process.cmdline()) for process in processes(tmp_path / "home")]
        for path in ("logs/filter", "artifacts/filter", "flow_runs/filter", "deployments/filter"):
            answer = ask(local.url, path, PAIR)
            assert answer or path == "artifacts/filter"
            told.append(json.dumps(answer))
    finally:
        assert server.down() == ("worker", "server")
    told += [
        path.read_bytes().decode("latin-1")
        for folder in ("home", "runs", "prefect")
        for path in (tmp_path / folder).rglob("*")
        if path.is_file()
    ]
    assert len(told) > 12
    assert [word for word in WORDS for text in told if word in text] == []
