"""Ask the advisory services about every locked package: exit code 1 for a known vulnerability.

Where no service answers, nothing was audited: that is said, and is no failure.
"""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"
SERVICES = ("pypi", "osv")
SECONDS = 600


def ask(service: str, constraints: Path) -> list[dict[str, Any]]:
    """Return what a service says of each package; nothing where it cannot be reached."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(constraints)]
    options = ["--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json"]
    try:
        result = subprocess.run(
            [*command, *options, "--vulnerability-service", service],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        answer = json.loads(result.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError, TypeError):
        return []
    return [package for package in answer if "vulns" in package]


def main(constraints: Path = CONSTRAINTS) -> int:
    """Print what is known against the locked packages; return the exit code."""
    if find_spec("pip_audit") is None:
        print("the package pip-audit is missing: make install")
        return 1
    locked = [line for line in constraints.read_text().splitlines() if line and not line.startswith("#")]
    for service in SERVICES:
        answered = ask(service, constraints)
        if not answered:
            continue
        found = [
            f"{package['name']} {package['version']}: {fault['id']}, "
            f"mended in {', '.join(fault['fix_versions']) or 'no version'}"
            for package in answered
            for fault in package["vulns"]
        ]
        print(
            "\n".join(found)
            or f"{len(answered)} of {len(locked)} packages: no known vulnerability ({service})"
        )
        return 1 if found else 0
    print(f"no advisory service answers ({', '.join(SERVICES)}): nothing was audited")
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
