"""`run.lock.yaml`: all that a run depended on, and the refusal of a run that depends on anything else."""

from collections.abc import Iterator
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, JsonValue

from koopcast.errors import InvalidInput, StoreDamaged, StoreMissing
from koopcast.redaction import redacted
from koopcast.stores import Store
from schemas.plan import Plan, explain
from tasks.environment import hardware, versions

LOCK = "run.lock.yaml"


class _Contents(BaseModel):
    """What is compared."""

    model_config = ConfigDict(strict=True)

    seed: int
    threads: int
    versions: dict[str, str]
    steps: dict[str, dict[str, JsonValue]]


def contents(plan: Plan, command: str) -> dict[str, Any]:
    """Return what the lock file of a run holds."""
    loaded = plan.loaded
    return {
        "reproduce": command,
        "pipeline": loaded.raw,
        "overrides": list(loaded.overrides),
        "seed": loaded.pipeline.seed,
        "threads": loaded.pipeline.threads,
        "versions": versions(),
        "hardware": hardware(),
        "steps": {step.name: {"key": step.key, **step.components} for step in plan.steps},
    }


def text(values: dict[str, Any]) -> str:
    """Return the lock file as YAML, without secrets."""
    return redacted(yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=110))


def read(store: Store, run: str) -> dict[str, Any]:
    """Return the lock file of a run.

    Raises:
        StoreMissing: No such run, or it has none.
        StoreDamaged: It was altered and cannot be read.
    """
    found = store.run(run).read(LOCK)
    if found is None:
        raise StoreMissing(f"run '{run}' has no {LOCK}", "run the pipeline again")
    try:
        values: dict[str, Any] = yaml.safe_load(found)
        _Contents.model_validate(values)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise StoreDamaged(
            f"the {LOCK} of run '{run}' is no lock file ({error})"[:500], "run the pipeline again"
        ) from error
    return values


def refuse_drift(plan: Plan, store: Store) -> None:
    """Compare a plan with the last run of its pipeline.

    Raises:
        InvalidInput: Options, files, code, seeds or versions differ; each difference is a line.
        StoreMissing: There is no run to compare with.
    """
    former = read(store, f"{plan.loaded.pipeline.name}/latest")
    found = list(differences(former, contents(plan, "")))
    if found:
        raise InvalidInput(
            "--locked: this run would differ from the last one\n  " + "\n  ".join(found),
            "restore what changed, or run without --locked to make a new lock",
        )


def differences(first: dict[str, Any], second: dict[str, Any]) -> Iterator[str]:
    """Yield in what two lock files differ, one line each."""
    for name in ("seed", "threads"):
        if first[name] != second[name]:
            yield f"{name}: {first[name]} -> {second[name]}"
    for package in dict.fromkeys([*first["versions"], *second["versions"]]):
        before, after = first["versions"].get(package, "absent"), second["versions"].get(package, "absent")
        if before != after:
            yield f"version of {package}: {before} -> {after}"
    for step in dict.fromkeys([*first["steps"], *second["steps"]]):
        if step not in second["steps"] or step not in first["steps"]:
            yield f"step '{step}': {'added' if step in second['steps'] else 'removed'}"
        else:
            for line in explain(first["steps"][step], second["steps"][step]):
                yield f"step '{step}': {line}"
