"""Every model that can be learned, and how one is taken from its files."""

from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import TypeAdapter

from koopcast.koopman import AnyKoopman
from koopcast.mapping import MappingSpec
from koopcast.models import Learned, ModelSpec
from koopcast.operators import AnyOperator
from koopcast.spec import Family
from koopcast.stores.files import (
    info_from_json,
    info_to_json,
    read_json,
    read_tensors,
    write_json,
    write_tensors,
)

AnyModel: TypeAlias = Annotated[AnyKoopman | AnyOperator, Family("models")]
MODEL_CARD, MODEL_TENSORS = "model.json", "model.safetensors"
_SPEC: TypeAdapter[ModelSpec] = TypeAdapter(AnyModel)


def write_model(folder: Path, spec: ModelSpec, model: Any, mapping: MappingSpec | None, data: str) -> None:
    """Write a model as `model.safetensors` and `model.json`.

    Args:
        folder: Where the files go.
        spec: Options of the model.
        model: What was learned; its `info` is the contract of the fields.
        mapping: What it maps to what; None for dynamics.
        data: Key of the data that it was learned from.
    """
    write_tensors(folder / MODEL_TENSORS, model.tensors())
    card = {
        "spec": spec.model_dump(mode="json"),
        "info": info_to_json(model.info),
        "mapping": None if mapping is None else mapping.model_dump(mode="json"),
        "data": data,
        "card": model.card(),
    }
    write_json(folder / MODEL_CARD, card)


def read_model(folder: Path) -> Learned:
    """Return the model that `write_model` wrote, on the CPU.

    Raises:
        StoreMissing: There is none.
        StoreDamaged: A file is not what was written.
    """
    card = read_json(folder / MODEL_CARD)
    spec = _SPEC.validate_python(card["spec"])
    mapping = None if card["mapping"] is None else MappingSpec.model_validate(card["mapping"])
    tensors = read_tensors(folder / MODEL_TENSORS)
    return spec.restore(info_from_json(card["info"]), tensors, mapping)
