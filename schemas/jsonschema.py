"""The grammars as JSON Schema, for completion in editors and for other programs."""

import json
from typing import Any

from schemas.cycle import Cycle
from schemas.pipeline import LONGEST_NAME, Pipeline, baseline_names
from schemas.references import NAME

DIALECT = "https://json-schema.org/draft/2020-12/schema"
NOISE = ("title", "key")
"""Keywords that help nobody who writes a pipeline."""


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a pipeline file.

    A file with `extends` may hold any part of a pipeline, so only its own top-level keys are described.
    """
    written = Pipeline.model_json_schema(mode="validation")
    definitions: dict[str, Any] = {name: _tidied(value) for name, value in written.pop("$defs").items()}
    for definition in definitions.values():
        _require_tag(definition)
    complete = _tidied(written)
    complete["properties"]["steps"]["propertyNames"] = {
        "pattern": f"^{NAME}$",
        "maxLength": LONGEST_NAME,
        "not": {"enum": sorted(baseline_names())},
    }
    overlay = {**complete, "properties": {**complete["properties"], "steps": {"type": ["object", "null"]}}}
    overlay.pop("required")
    return {
        "$schema": DIALECT,
        "title": "Koopcast pipeline",
        "description": Pipeline.__doc__,
        "type": "object",
        "if": {"required": ["extends"], "properties": {"extends": {"type": "string"}}},
        "then": {"$ref": "#/$defs/Overlay"},
        "else": {"$ref": "#/$defs/Pipeline"},
        "$defs": {**definitions, "Overlay": overlay, "Pipeline": complete},
    }


def cycle_schema() -> dict[str, Any]:
    """Return the JSON Schema of a cycle file; one with `extends` may leave anything out."""
    written = Cycle.model_json_schema(mode="validation")
    definitions: dict[str, Any] = {name: _tidied(value) for name, value in written.pop("$defs").items()}
    for definition in definitions.values():
        _require_tag(definition)
    complete = _tidied(written)
    required = {"required": complete.pop("required")}
    return {
        "$schema": DIALECT,
        "title": "Koopcast cycle",
        "$defs": definitions,
        **complete,
        "anyOf": [required, {"required": ["extends"]}],
    }


def to_text(schema: dict[str, Any] | None = None) -> str:
    """Return a JSON Schema, by default that of pipelines, as a text that is the same every time."""
    whole = json_schema() if schema is None else schema
    return json.dumps(whole, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _tidied(value: Any, *, names_are_data: bool = False) -> Any:
    """Drop noise; below `properties` the keys are names that people chose, not keywords."""
    if isinstance(value, list):
        return [_tidied(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _tidied(item, names_are_data=key in ("properties", "$defs") and not names_are_data)
        for key, item in value.items()
        if names_are_data or key not in NOISE
    }


def _require_tag(definition: dict[str, Any]) -> None:
    """Say that `kind` or `task` must be written, as the loader demands, though the class has a default."""
    for tag in ("kind", "task"):
        if "const" in definition.get("properties", {}).get(tag, {}):
            definition["required"] = sorted({*definition.get("required", []), tag})
            definition["properties"][tag].pop("default", None)
