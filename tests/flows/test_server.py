"""Reaching a server that is ill, and processes that will not start or stop: each ends in a bounded time."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from flows import environment, server
from flows.processes import Background, Guarded, tail, wait_until
from koopcast.errors import EngineError

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
READY = "import time; print('ready', flush=True); time.sleep(60)"
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time\n"
    "for s in (signal.SIGINT, signal.SIGTERM): signal.signal(s, signal.SIG_IGN)\n"
    "print('deaf', flush=True)\n"
    "time.sleep(60)",
]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory of our own, and no server configured."""
    monkeypatch.setenv("KOOPCAST_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.delenv("PREFECT_PROFILE", raising=False)
    return tmp_path / "home"


@contextmanager
def answering(code: int, body: bytes, heard: list[str | None] | None = None) -> Iterator[str]:
    """A web server that gives one answer to every request, and notes who asks."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if heard is not None:
                heard.append(self.headers["Authorization"])
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_address[1]}/api"
        finally:
            http.shutdown()
            thread.join()


@contextmanager
def black_hole() -> Iterator[str]:
    """A socket that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/api"


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def duration(action: Callable[[], object]) -> float:
    begin = time.monotonic()
    action()
    return time.monotonic() - begin


def configured_error(monkeypatch: pytest.MonkeyPatch, url: str) -> str:
    monkeypatch.setenv("PREFECT_API_URL", url)
    with pytest.raises(EngineError) as caught:
        server.find_server()
    return str(caught.value)


def test_a_configured_server_that_is_well_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(200, b"true") as url:
        monkeypatch.setenv("PREFECT_API_URL", url)
        assert server.find_server() == url


def test_a_configured_server_that_never_answers_is_an_error_within_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with black_hole() as url:
        begin = time.monotonic()
        message = configured_error(monkeypatch, url)
        assert time.monotonic() - begin < 8.0
    assert url in message
    assert "does not answer within 5 s" in message
    assert "--engine inline" in message


def test_a_configured_server_that_is_not_there_is_an_error_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"http://127.0.0.1:{closed_port()}/api"
    begin = time.monotonic()
    message = configured_error(monkeypatch, url)
    assert time.monotonic() - begin < 2.0
    assert "cannot be reached" in message
    assert "refused" in message


@pytest.mark.parametrize(
    ("code", "body", "told"),
    [
        (500, b"no", "answers 500 Internal Server Error"),
        (401, b"", "answers 401 Unauthorized"),
        (200, b"<html>", "does not answer like a Prefect API"),
    ],
)
def test_a_configured_server_that_answers_otherwise_is_an_error_with_its_answer(
    monkeypatch: pytest.MonkeyPatch, code: int, body: bytes, told: str
) -> None:
    with answering(code, body) as url:
        assert told in configured_error(monkeypatch, url)


def test_a_url_without_a_scheme_is_refused_without_a_look_at_files(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "has no http(s) URL" in configured_error(monkeypatch, "file:///etc/hostname")


def test_the_active_profile_of_prefect_names_the_server(tmp_path: Path) -> None:
    (tmp_path / "prefect").mkdir()
    with answering(200, b"true") as url:
        text = f'active = "mine"\n[profiles.mine]\nPREFECT_API_URL = "{url}"\n'
        (tmp_path / "prefect" / "profiles.toml").write_text(text)
        assert server.find_server() == url
    with pytest.raises(EngineError, match="profile 'mine'"):
        server.find_server()


def test_no_server_at_all_is_found_out_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "PORT", closed_port())
    assert server.find_server() is None
    with black_hole() as url:
        monkeypatch.setattr(server, "PORT", int(url.split(":")[2].removesuffix("/api")))
        assert duration(server.find_server) < 3.0


def test_the_loss_of_a_server_during_a_run_is_told_as_such() -> None:
    url = f"http://127.0.0.1:{closed_port()}/api"
    with (
        pytest.raises(EngineError, match=r"was lost during the run.*store; start the server"),
        server.attached(url),
    ):
        raise ConnectionError("All connection attempts failed")


def test_an_error_of_the_run_itself_passes_while_the_server_is_well() -> None:
    with answering(200, b"true") as url, pytest.raises(ZeroDivisionError), server.attached(url):
        raise ZeroDivisionError


def test_a_server_that_ends_while_it_starts_shows_the_end_of_its_log(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    command = [sys.executable, "-c", "print('no such database'); raise SystemExit(3)"]
    monkeypatch.setattr(server, "server_command", lambda url: command)
    said: list[str] = []
    begin = time.monotonic()
    with pytest.raises(EngineError) as caught:
        server.up(said.append, port=closed_port())
    assert time.monotonic() - begin < 20.0
    assert "ended while it started" in str(caught.value)
    assert "no such database" in str(caught.value)
    assert str(home / "server.log") in said[0]
    assert server.down() == ()


def test_a_server_that_never_gets_ready_is_stopped_when_its_time_is_over(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.setattr(server, "server_command", lambda url: SLEEP)
    with pytest.raises(EngineError, match="was not ready within 1 s"):
        server.up(lambda line: None, port=closed_port(), start_seconds=1.0)
    assert Background(home, "server").process() is None


def test_a_port_of_another_program_is_refused() -> None:
    with answering(404, b"not here") as url, pytest.raises(EngineError, match="belongs to another program"):
        server.up(lambda line: None, port=int(url.split(":")[2].removesuffix("/api")))


def test_a_background_process_is_known_until_it_is_stopped_and_stopping_twice_is_fine(tmp_path: Path) -> None:
    background = Background(tmp_path, "sleeper")
    background.start(SLEEP, os.environ, url="somewhere")
    process = background.process()
    assert process is not None
    assert background.facts()["url"] == "somewhere"
    assert Background(tmp_path, "sleeper").process() == process
    assert background.stop()
    assert not process.is_running()
    assert not background.record.exists()
    assert not background.stop()


def test_a_process_that_got_the_pid_of_ours_is_left_alone(tmp_path: Path) -> None:
    background = Background(tmp_path, "sleeper")
    background.start(SLEEP, os.environ)
    process = background.process()
    assert process is not None
    text = background.record.read_text()
    background.record.write_text(text.replace(f"{process.create_time()}", f"{process.create_time() - 100}"))
    assert background.process() is None
    assert not background.stop()
    assert process.is_running()
    process.kill()
    process.wait(10)


def test_a_torn_record_means_no_process(tmp_path: Path) -> None:
    for text in ("", "{", "[]", '{"pid": "1"}', '{"pid": 1}'):
        (tmp_path / "sleeper.json").write_text(text)
        assert Background(tmp_path, "sleeper").process() is None


def test_a_process_that_ignores_the_gentle_signals_is_killed(tmp_path: Path) -> None:
    background = Background(tmp_path, "deaf")
    background.start(STUBBORN, os.environ)
    process = background.process()
    assert process is not None
    assert wait_until(lambda: "deaf" in tail(background.log), process.is_running, 10)
    gentle_first = ((signal.SIGINT, 0.2), (signal.SIGTERM, 0.2), (signal.SIGKILL, 5.0))
    assert background.stop(gentle_first)
    assert not process.is_running()


def test_stopping_a_process_stops_its_children(tmp_path: Path) -> None:
    parent = f"import subprocess, time; print(subprocess.Popen({SLEEP!r}).pid, flush=True); time.sleep(60)"
    background = Background(tmp_path, "parent")
    background.start([sys.executable, "-c", parent], os.environ)
    assert wait_until(lambda: tail(background.log).isdigit(), lambda: background.process() is not None, 10)
    child = psutil.Process(int(tail(background.log)))
    assert background.stop()
    assert not child.is_running()


def test_a_background_process_hears_sigint_even_if_its_starter_ignores_it(tmp_path: Path) -> None:
    background = Background(tmp_path, "sleeper")
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        background.start([sys.executable, "-c", READY], os.environ)
    finally:
        signal.signal(signal.SIGINT, before)
    process = background.process()
    assert process is not None
    assert wait_until(lambda: tail(background.log) == "ready", process.is_running, 10)
    assert background.stop(((signal.SIGINT, 10.0),))
    assert "KeyboardInterrupt" in tail(background.log)


def test_a_guarded_process_ends_when_its_starter_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "guarded.log"
    command = [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(60)"]
    starter = (
        "import os, pathlib, time; from flows.processes import Guarded; "
        f"Guarded.start({command!r}, os.environ, pathlib.Path({str(log)!r})); time.sleep(60)"
    )
    path = os.pathsep.join(
        filter(None, [str(Path(server.__file__).parents[1]), os.environ.get("PYTHONPATH")])
    )
    with subprocess.Popen([sys.executable, "-c", starter], env={**os.environ, "PYTHONPATH": path}) as process:
        assert wait_until(lambda: tail(log).isdigit(), lambda: process.poll() is None, 20)
        guarded = psutil.Process(int(tail(log)))
        process.kill()
    assert wait_until(lambda: not guarded.is_running(), lambda: True, 10)


def test_a_guarded_process_is_stopped(tmp_path: Path) -> None:
    guarded = Guarded.start(SLEEP, os.environ, tmp_path / "guarded.log")
    assert guarded.is_running()
    assert duration(guarded.stop) < 8.0
    assert not guarded.is_running()


def test_the_tail_of_a_log_is_what_was_written_since(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert tail(log) == "(the log is empty)"
    log.write_text("old\n" + "\n".join(f"line {number}" for number in range(30)))
    assert tail(log, lines=2) == "line 28\nline 29"
    assert tail(log, since=log.stat().st_size - 7) == "line 29"


def test_what_a_person_has_set_wins_over_our_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_CLIENT_MAX_RETRIES", "9")
    monkeypatch.delenv("DO_NOT_TRACK", raising=False)
    settings = environment.environment()
    assert settings["DO_NOT_TRACK"] == "1"
    assert "PREFECT_CLIENT_MAX_RETRIES" not in settings


def test_a_proxy_does_not_come_between_us_and_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("NO_PROXY", "example.org")
    assert environment.environment()["NO_PROXY"] == "example.org,127.0.0.1,localhost"
    with answering(200, b"true") as url:
        assert server.probe(url) is None


@pytest.mark.parametrize(
    ("name", "value", "header"),
    [
        # base64 of `admin:word`
        ("PREFECT_API_AUTH_STRING", "admin:word", "Basic YWRtaW46d29yZA=="),
        ("PREFECT_API_KEY", "pnu_1", "Bearer pnu_1"),
    ],
)
def test_a_protected_server_is_told_who_asks(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, header: str
) -> None:
    heard: list[str | None] = []
    with answering(200, b"true", heard) as url:
        assert server.probe(url) is None
        monkeypatch.setenv(name, value)
        assert server.probe(url) is None
    assert heard == [None, header]
