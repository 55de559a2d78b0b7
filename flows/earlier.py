"""Artefacts of earlier runs, `runs://pipeline/run/step`, as the check of a pipeline sees them."""

from typing import Any

from pydantic import TypeAdapter

from koopcast.mapping import Signature
from koopcast.stores import Store
from koopcast.stores.files import info_from_json, info_to_json
from schemas.check import Earlier, Lookup
from schemas.references import KINDS, Model, Ref
from schemas.stages import Contract
from schemas.stages.generate import SYSTEM

SIGNATURE: TypeAdapter[Signature] = TypeAdapter(Signature)


def contract_to_json(contract: Contract) -> dict[str, Any]:
    """Return what a manifest keeps of the contract of its artefact."""
    return {
        "fields": info_to_json(contract.fields),
        "history": contract.history,
        "is_localizable": contract.is_localizable,
        "mapping": None if contract.mapping is None else SIGNATURE.dump_python(contract.mapping, mode="json"),
        "transfers": contract.transfers,
        "has_correction": contract.has_correction,
        "members": contract.members,
    }


def lookup(root: str) -> Lookup:
    """Return what finds the artefacts of `runs://` references; the store is opened at the first question."""

    def find(ref: Ref[Any]) -> Earlier:
        store = Store.open(root, create=False)
        artefact = store.load(store.resolve(f"runs://{ref.run}/{ref.step}"))
        facts: Any = artefact.manifest.facts["contract"]
        kind = Model if ref.part == SYSTEM else next(kind for kind in KINDS if kind.noun == artefact.ref.kind)
        contract = Contract(
            kind=kind,
            fields=info_from_json(facts["fields"]),
            history=facts["history"],
            is_localizable=facts["is_localizable"],
            mapping=None if facts["mapping"] is None else SIGNATURE.validate_python(facts["mapping"]),
            transfers=facts["transfers"],
            has_correction=facts["has_correction"],
            members=facts["members"],
        )
        return Earlier(contract, artefact.ref.key)

    return find


def kind_of(root: str, ref: str) -> str:
    """Return the kind of artefact that a `runs://` reference names."""
    parsed = Ref.parse(ref)
    return Store.open(root, create=False).resolve(f"runs://{parsed.run}/{parsed.step}").kind
