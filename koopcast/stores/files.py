"""Datasets with their contract, tensors, tables and JSON of artefacts: same content, same bytes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from koopcast.errors import StoreDamaged, StoreMissing
from koopcast.fields import FieldData
from koopcast.grids import FieldsInfo
from koopcast.stores.arrays import Codec, open_fields, write_fields
from koopcast.stores.durable import write_whole, writing

FIELDS, CONTRACT = "fields.zarr", "fields.json"
_INFO = TypeAdapter(FieldsInfo)


def write_data(folder: Path, data: FieldData, *, codec: Codec | None = None) -> None:
    """Write a dataset and its contract to `fields.zarr` and `fields.json`; a reader's window is not kept."""
    write_fields(folder / FIELDS, data.dataset, codec=codec)
    write_json(folder / CONTRACT, info_to_json(data.info))


def open_data(folder: Path) -> FieldData:
    """Open what `write_data` wrote, lazily."""
    info = info_from_json(read_json(folder / CONTRACT))
    return FieldData(open_fields(folder / FIELDS, first=tuple(info.variables)), info)


def info_to_json(info: FieldsInfo) -> dict[str, Any]:
    """Return the contract of fields as JSON values."""
    values: dict[str, Any] = _INFO.dump_python(info, mode="json")
    return {**values, "properties": sorted(info.properties)}


def info_from_json(values: Any) -> FieldsInfo:
    """Return the contract that `info_to_json` wrote.

    Raises:
        StoreDamaged: It is something else.
    """
    try:
        return _INFO.validate_python(values)
    except ValidationError as error:
        raise StoreDamaged(
            f"this is no contract of fields: {values!r:.80} ({error.error_count()} faults)"
        ) from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write named tensors as safetensors."""
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in sorted(tensors.items())}
    with writing(path.parent.absolute()):
        save_file(plain, path)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read named tensors to the CPU.

    Raises:
        StoreMissing: There is no such file.
        StoreDamaged: It is no safetensors file.
    """
    _demand(path)
    try:
        return load_file(path)
    except SafetensorError as error:
        raise _damaged(path, "holds no tensors", error) from error


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as Parquet, without its index."""
    with writing(path.parent.absolute()):
        table.to_parquet(path, engine="pyarrow", index=False, compression="zstd")


def read_table(path: Path) -> pd.DataFrame:
    """Read a Parquet table.

    Raises:
        StoreMissing: There is no such file.
        StoreDamaged: It is no Parquet file.
    """
    _demand(path)
    try:
        return pd.read_parquet(path, engine="pyarrow")
    except ValueError as error:
        raise _damaged(path, "holds no table", error) from error


def write_json(path: Path, values: Any) -> None:
    """Write JSON values, keys in the order given."""
    with writing(path.parent.absolute()):
        write_whole(path, json.dumps(values, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON values.

    Raises:
        StoreMissing: There is no such file.
        StoreDamaged: It is no JSON.
    """
    _demand(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise _damaged(path, "holds no JSON", error) from error


def _demand(path: Path) -> None:
    if not path.is_file():
        raise StoreMissing(f"there is no file '{path}'", "run the step that writes it")


def _damaged(path: Path, what: str, error: Exception) -> StoreDamaged:
    return StoreDamaged(f"'{path}' {what} ({error})", "run the step that writes it again")
