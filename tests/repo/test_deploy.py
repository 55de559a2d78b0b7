"""What is written of running Koopcast can be run: commands, options, settings, units, manifests."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import prefect.settings
import pytest
import yaml
from prefect.cli._app import _app as prefect_app
from typer.core import TyperGroup
from typer.main import get_command

import flows.cycles
import flows.pipeline
from flows.cli import app

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
TEXTS = [
    *(path for path in sorted(DEPLOY.rglob("*")) if path.is_file()),
    *(ROOT / "docs" / name for name in ("cycles.md", "operations.md")),
    ROOT / "README.md",
]
PROGRAM = re.compile(r"(?:^|[`;(]|\s)(?:/\S+/bin/)?((?:koopcast|prefect) [a-z].*)$")
LEASES = "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"
FLOWS = {"pipeline": flows.pipeline.pipeline, "cycle": flows.cycles.cycle}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def commands(path: Path) -> Iterator[list[str]]:
    """Yield the commands of a file: of its code, of its units, of its containers."""
    text = path.read_text()
    if path.suffix == ".md":
        blocks = re.findall(r"^```sh\n(.*?)^```|((?:^    .*\n)+)|`([^`\n]+)`", text, re.MULTILINE | re.DOTALL)
        lines = [line for block in blocks for part in block for line in part.splitlines()]
    else:
        lines = [line.lstrip("# ") for line in text.splitlines()]
        lines = [re.sub(r"^(?:\w+=|CMD )", "", line) for line in lines]
    for line in lines:
        line = re.sub(r"\s(?:#|--? |&&|\||>).*| {2,}.*", "", line.strip().removeprefix("$ "))
        found = re.match(r"(?:/\S+/bin/)?((?:koopcast|prefect) .*)", line)
        if found and not re.search(r"[{.]$|: ", found[1]):
            yield shlex.split(found[1])
    if path.suffix == ".yaml":
        for document in yaml.safe_load_all(text):
            yield from _containers(document)


def _containers(value: Any) -> Iterator[list[str]]:
    """Yield the lists under `command`."""
    if isinstance(value, dict):
        command = value.get("command")
        if isinstance(command, list) and command[0] in ("koopcast", "prefect"):
            yield [str(word) for word in command]
        for inner in value.values():
            yield from _containers(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _containers(inner)


ALL = [(relative(path), command) for path in TEXTS for command in commands(path)]


@pytest.mark.parametrize(("where", "words"), ALL, ids=[f"{where}: {' '.join(words)}" for where, words in ALL])
def test_each_command_that_is_written_is_understood(where: str, words: list[str]) -> None:
    program, *rest = words
    if program == "prefect":
        prefect_app.parse_args(
            [word for word in rest if word != "--no-prompt"], exit_on_error=False, print_error=False
        )
        return
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    name, *arguments = rest
    assert name in group.commands, where
    command = group.commands[name]
    if not arguments:  # a command that is spoken of, not one to type
        return
    command.make_context(name, arguments)


def test_there_are_commands_of_each_kind() -> None:
    """A pattern that finds nothing would prove nothing."""
    found = {(where, " ".join(words[:3])) for where, words in ALL}
    assert ("deploy/systemd/koopcast-worker.service", "prefect worker start") in found
    assert ("deploy/systemd/koopcast-cycle@.service", "koopcast cycle /etc/koopcast/%i.yaml") in found
    assert ("deploy/kubernetes/tick.yaml", "koopcast cycle /etc/koopcast/cycle.yaml") in found
    assert ("deploy/compose.yaml", "prefect server start") in found
    assert any(where == "docs/operations.md" and text.startswith("koopcast backup") for where, text in found)
    assert len(found) > 25


@pytest.mark.parametrize("path", TEXTS, ids=relative)
def test_each_setting_that_is_named_exists(path: Path) -> None:
    text = path.read_text()
    for name in set(re.findall(r"\bPREFECT_[A-Z_]+[A-Z]\b", text)):
        assert hasattr(prefect.settings, name), name
    sources = "\n".join(
        source.read_text()
        for part in ("flows", "tasks", "schemas", "koopcast")
        for source in (ROOT / part).rglob("*.py")
    )
    for name in set(re.findall(r"\bKOOPCAST_[A-Z]+\b", text)):
        assert f'"{name}"' in sources, name


@pytest.mark.parametrize(
    "entry",
    yaml.safe_load((DEPLOY / "prefect.yaml").read_text())["deployments"],
    ids=lambda entry: entry["name"],
)
def test_each_deployment_gives_its_flow_what_it_takes(entry: dict[str, Any]) -> None:
    module, name = entry["entrypoint"].split(":")
    flow = FLOWS[name]
    assert module == flow.fn.__module__
    file, *_ = entry["parameters"].values()
    assert (ROOT / file).exists()
    flow.validate_parameters(entry["parameters"])
    assert entry["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"}
    assert entry["work_pool"]["name"] == "koopcast"
    assert not any(schedule["active"] for schedule in entry["schedules"])


def test_the_units_are_valid(tmp_path: Path) -> None:
    verifier = shutil.which("systemd-analyze")
    if verifier is None:
        pytest.skip("systemd-analyze is not installed")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("koopcast", "prefect"):
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    units = []
    for unit in sorted((DEPLOY / "systemd").iterdir()):
        text = unit.read_text()
        assert "/srv/koopcast/.venv/bin/" in text or unit.suffix == ".timer"
        (tmp_path / unit.name).write_text(text.replace("/srv/koopcast/.venv/bin", str(programs)))
        units.append(str(tmp_path / unit.name))
    result = subprocess.run(
        [verifier, "verify", "--man=no", *units], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.stdout + result.stderr == ""
    assert result.returncode == 0


@pytest.mark.parametrize("name", ["koopcast-worker.service", "koopcast-cycle@.service"])
def test_units_without_homes_keep_caches_where_they_may_write(name: str) -> None:
    """Else each tick makes the list of fonts anew, and no store in a bucket can be used."""
    text = (DEPLOY / "systemd" / name).read_text()
    assert "ProtectHome=yes" in text
    for setting in ("MPLCONFIGDIR", "KOOPCAST_CACHE"):
        assert f"{setting}=/var/lib/koopcast/" in text


def test_what_runs_for_long_is_stopped_with_sigint_and_has_time_for_it() -> None:
    """Prefect's server and worker end in order on SIGINT, and so does a tick; SIGKILL comes much later."""
    for unit in (DEPLOY / "systemd").glob("*.service"):
        text = unit.read_text()
        assert "KillSignal=SIGINT" in text
        assert int(re.findall(r"^TimeoutStopSec=(\d+)", text, re.MULTILINE)[0]) >= 30
    assert "STOPSIGNAL SIGINT" in (DEPLOY / "Dockerfile").read_text()
    for pod in pods():
        if (
            "server" not in pod["metadata"]["labels"]["app"]
            and "scheduler" not in pod["metadata"]["labels"]["app"]
        ):
            assert pod["spec"]["terminationGracePeriodSeconds"] >= 60
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert all(service["stop_signal"] == "SIGINT" for name, service in services.items() if name != "database")


def objects() -> list[dict[str, Any]]:
    return [
        part
        for path in sorted(KUBERNETES.glob("*.yaml"))
        if path.name != "kustomization.yaml"
        for part in yaml.safe_load_all(path.read_text())
    ]


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [item for item in objects() if item["kind"] == kind]


def pods() -> list[dict[str, Any]]:
    found = [item["spec"]["template"] for item in of_kind("Deployment")]
    return [*found, *(item["spec"]["jobTemplate"]["spec"]["template"] for item in of_kind("CronJob"))]


def test_every_kubernetes_object_has_what_the_api_demands() -> None:
    for item in objects():
        assert item["apiVersion"]
        assert re.fullmatch(r"[a-z0-9-]+", item["metadata"]["name"])
    names = [(item["kind"], item["metadata"]["name"]) for item in objects()]
    assert len(names) == len(set(names))
    kustomization = (KUBERNETES / "kustomization.yaml").read_text()
    for path in KUBERNETES.glob("*.yaml"):
        assert path.name == "kustomization.yaml" or f"- {path.name}" in kustomization
    for name in yaml.safe_load(kustomization)["resources"]:
        assert (KUBERNETES / name).exists()


def test_kubernetes_objects_find_one_another() -> None:
    claims = {item["metadata"]["name"] for item in of_kind("PersistentVolumeClaim")}
    secrets = set(
        re.findall(r"create secret generic (\w+) ", (KUBERNETES / "kustomization.yaml").read_text())
    )
    labels = [pod["metadata"]["labels"] for pod in pods()]
    for item in of_kind("Deployment"):
        wanted = item["spec"]["selector"]["matchLabels"]
        assert wanted.items() <= item["spec"]["template"]["metadata"]["labels"].items()
        assert sum(wanted.items() <= held.items() for held in labels) == 1
    for policy in of_kind("NetworkPolicy"):
        wanted = policy["spec"]["podSelector"].get("matchLabels", {})
        assert any(wanted.items() <= held.items() for held in labels)
        for rule in policy["spec"].get("ingress", []):
            for peer in rule["from"]:
                allowed = peer["podSelector"]["matchLabels"]
                assert any(allowed.items() <= held.items() for held in labels)
    for service in of_kind("Service"):
        pod = next(
            pod for pod in pods() if service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
        )
        ports = {port["name"] for container in pod["spec"]["containers"] for port in container["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    for pod in pods():
        volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes", [])}
        for volume in volumes.values():
            assert "configMap" in volume or volume["persistentVolumeClaim"]["claimName"] in claims
        for container in pod["spec"]["containers"]:
            assert {mount["name"] for mount in container.get("volumeMounts", [])} == set(volumes)
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["resources"]["limits"]["memory"]
            keys = [
                entry["valueFrom"]["secretKeyRef"]["name"]
                for entry in container.get("env", [])
                if "valueFrom" in entry
            ]
            assert set(keys) <= secrets
            if any(entry["name"] == "PREFECT_API_URL" for entry in container.get("env", [])):
                assert pod["metadata"]["labels"]["client"] == "prefect"


def test_leases_on_disk_outlive_what_the_server_runs_in() -> None:
    """Lost, they leave the slot of a run that was killed meanwhile taken for ever."""
    [server] = [pod["spec"] for pod in pods() if pod["metadata"]["labels"]["app"] == "server"]
    [container] = server["containers"]
    settings = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert settings[LEASES].endswith(".filesystem")
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/data"]
    assert settings["PREFECT_HOME"].startswith("/data/")
    assert server["securityContext"]["fsGroup"] == server["securityContext"]["runAsUser"]
    settings = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["server"]
    assert settings["environment"][LEASES].endswith(".filesystem")
    assert settings["volumes"] == ["server:/data"]
    assert settings["environment"]["PREFECT_HOME"].startswith("/data/")
    assert "chown koopcast /data" in (DEPLOY / "Dockerfile").read_text()
    unit = (DEPLOY / "systemd" / "koopcast-server.service").read_text()
    assert f"{LEASES}=prefect.server.concurrency.lease_storage.filesystem" in unit
    assert "PREFECT_HOME=/var/lib/koopcast/" in unit
    assert "StateDirectory=koopcast\n" in unit


def test_the_parts_of_the_compose_file_find_one_another() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    whole = yaml.safe_load(text)
    services = whole["services"]
    for service in services.values():
        assert set(service.get("depends_on", [])) <= set(services)
        for mount in service.get("volumes", []):
            assert mount.split(":")[0] in whole["volumes"]
        hosts = re.findall(r"//(?:\S+@)?([a-z-]+):\d", yaml.safe_dump(service))
        assert set(hosts) <= set(services)
        build = service.get("build")
        assert build is None or (DEPLOY / build["context"] / build["dockerfile"]).exists()
    # What has no value must stop the start, not become an empty password.
    demanded = set(re.findall(r"\$\{(\w+):\?", text))
    assert (
        set(re.findall(r"\$\{(\w+)\}", text)) <= demanded == {"POSTGRES_PASSWORD", "PREFECT_API_AUTH_STRING"}
    )


def test_the_image_copies_what_exists() -> None:
    lines = re.findall(r"^COPY (.+) \S+$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    for source in " ".join(lines).split():
        assert (ROOT / source).exists(), source
