"""What decides a result, as JSON; its digest is the key of the artefact."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from koopcast.spec import Spec
from schemas.links import links

FORMAT = 1
"""Of the key; changes with the way in which it is formed."""
PARTS = ("format", "task", "options", "inputs", "files", "code", "seed", "observation_seed")
"""What a key is the digest of."""


def key_of(components: Mapping[str, Any]) -> str:
    """Return the key: the SHA-256 of everything that decides a result, and of no name that people chose."""
    decisive = {
        **components,
        "inputs": {path: [item["key"], item["part"]] for path, item in components["inputs"].items()},
    }
    return hashlib.sha256(canonical_json(decisive).encode()).hexdigest()


def canonical_json(value: Any) -> str:
    """Return the one JSON text of a value: keys sorted, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def key_options(spec: Spec) -> dict[str, Any]:
    """Return the options that can change results, defaults included; references are left to the inputs."""
    written: dict[str, Any] = spec.model_dump(mode="json")
    for link in links(spec):
        _drop(written, link.path)
    return _without_excluded(spec, written)


def _drop(value: Any, path: tuple[str | int, ...]) -> None:
    for part in path[:-1]:
        value = value[part]
    value[path[-1]] = None


def _without_excluded(spec: Spec, written: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, field in type(spec).model_fields.items():
        extra = field.json_schema_extra
        if not (isinstance(extra, dict) and extra.get("key") is False):
            result[name] = _cleaned(getattr(spec, name), written[name])
    return result


def _cleaned(value: Any, written: Any) -> Any:
    if isinstance(value, Spec):
        return _without_excluded(value, written)
    if isinstance(value, (list, tuple)):
        return [_cleaned(item, below) for item, below in zip(value, written, strict=True)]
    if isinstance(value, dict):
        return {name: _cleaned(item, written[name]) for name, item in value.items()}
    return written


def explain(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return what changed between the components of two keys, one line each: option, input, file, code
    or seed.
    """
    return [line for part in PARTS for line in _differences(old.get(part), new.get(part), part)]


def _differences(old: Any, new: Any, part: str) -> Iterator[str]:
    before, after = _flat(old, part), _flat(new, part)
    for path in dict.fromkeys([*before, *after]):
        pair = (before.get(path, _ABSENT), after.get(path, _ABSENT))
        if pair[0] != pair[1] and not path.endswith(".ref"):
            yield _difference(part, path, *pair)


_ABSENT = "(absent)"
_WORDS = {"options": "option ", "inputs": "input ", "files": "file ", "code": "code of "}


def _difference(part: str, path: str, before: Any, after: Any) -> str:
    name = path.removeprefix(f"{part}.").removesuffix(".key")
    is_digest = part in ("inputs", "files", "code")
    short = [value[:12] if is_digest and value != _ABSENT else value for value in (str(before), str(after))]
    return f"{_WORDS.get(part, '')}{name}: {short[0]} -> {short[1]}"


def _flat(value: Any, path: str) -> dict[str, Any]:
    if isinstance(value, dict) and value:
        return {
            key: item for name, below in value.items() for key, item in _flat(below, f"{path}.{name}").items()
        }
    if isinstance(value, list) and value:
        return {
            key: item for i, below in enumerate(value) for key, item in _flat(below, f"{path}.{i}").items()
        }
    return {path: value}
