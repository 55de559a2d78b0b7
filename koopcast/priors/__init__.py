"""Priors: the union is the registry."""

from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import TypeAdapter

from koopcast.priors.base import Prior as Prior
from koopcast.priors.base import PriorSpec as PriorSpec
from koopcast.priors.lpn import LPNSpec
from koopcast.spec import Family
from koopcast.stores.files import (
    info_from_json,
    info_to_json,
    read_json,
    read_tensors,
    write_json,
    write_tensors,
)

AnyPrior: TypeAlias = Annotated[LPNSpec, Family("priors")]
PRIOR_CARD, PRIOR_TENSORS = "prior.json", "prior.safetensors"
_SPEC: TypeAdapter[PriorSpec] = TypeAdapter(AnyPrior)


def write_prior(folder: Path, spec: PriorSpec, prior: Prior) -> None:
    """Write a prior as `prior.safetensors` and `prior.json`."""
    write_tensors(folder / PRIOR_TENSORS, prior.tensors())
    card = {"spec": spec.model_dump(mode="json"), "info": info_to_json(prior.info)}
    write_json(folder / PRIOR_CARD, card)


def read_prior(folder: Path) -> Prior:
    """Return the prior that `write_prior` wrote.

    Raises:
        StoreMissing: There is none.
        StoreDamaged: A file is not what was written.
    """
    card = read_json(folder / PRIOR_CARD)
    tensors = read_tensors(folder / PRIOR_TENSORS)
    return _SPEC.validate_python(card["spec"]).restore(info_from_json(card["info"]), tensors)
