"""A first pipeline in a new directory, for `koopcast init`."""

from importlib.resources import files
from pathlib import Path

from koopcast.errors import InvalidInput
from schemas.jsonschema import to_text

SCHEMA = "pipeline.schema.json"
TEMPLATES = ("README.md", "lorenz96.yaml")


def init(folder: str | Path) -> tuple[Path, ...]:
    """Write a commented pipeline, its notes and the JSON Schema for editors; return the files.

    Raises:
        InvalidInput: One of the files is there already, or the directory cannot be written.
    """
    target = Path(folder)
    contents = {
        name: (files("schemas") / "templates" / name).read_text(encoding="utf-8") for name in TEMPLATES
    }
    contents[SCHEMA] = to_text()
    taken = [name for name in sorted(contents) if (target / name).exists()]
    if taken:
        raise InvalidInput(f"'{target}' already holds {', '.join(taken)}", "choose another directory")
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            with (target / name).open("x", encoding="utf-8") as stream:
                stream.write(content)
    except OSError as error:
        raise InvalidInput(
            f"'{target}' cannot be written: {error.strerror}", "choose another directory"
        ) from None
    return tuple(target / name for name in sorted(contents))
