"""The commands that use a trained model: predict, export."""

from collections.abc import Sequence
from pathlib import Path

import xarray as xr

from flows.prepare import store_root
from koopcast.errors import InvalidInput, MissingFile
from koopcast.inference import load
from koopcast.stores import Store
from koopcast.stores.files import open_data
from schemas.references import Ref

SUFFIXES = {".nc": "netCDF", ".zarr": "zarr"}


def predict(
    model: str, data: str, leads: Sequence[int], predicted: int | None, output: Path, uri: str | None
) -> str:
    """Write what a model makes of a dataset; return what was written, in words.

    Raises:
        InvalidInput: The output is there already, or of no known format.
    """
    _refuse(output)
    root = store_root(uri)
    result = load(model, root).predict(read(data, root), leads, predicted)
    if output.suffix == ".nc":
        result.to_netcdf(output)
    else:
        result.to_zarr(output, zarr_format=3, consolidated=False)
    sizes = ", ".join(f"{dim} {size}" for dim, size in result.sizes.items())
    return f"wrote {', '.join(map(str, result.data_vars))} ({sizes}) to {output}"


def export(model: str, output: Path, uri: str | None) -> str:
    """Write a model as a `torch.export` program; return what was written, in words."""
    if output.exists():
        raise InvalidInput(f"'{output}' is there already", "choose another name, or remove it")
    load(model, store_root(uri)).export(output)
    return f"wrote {output}; read it with torch.export.load"


def read(data: str, root: str) -> xr.Dataset:
    """Return a dataset: `runs://pipeline/run/step[.part]`, a zarr store or a netCDF file.

    Raises:
        MissingFile: There is no such file, or it cannot be read.
    """
    if data.startswith("runs://"):
        ref = Ref.parse(data)
        store = Store.open(root, create=False)
        fields = open_data(store.load(store.resolve(f"runs://{ref.run}/{ref.step}")).path)
        fields = fields.part(ref.part) if ref.part else fields
        view = fields.view
        chosen = {"sample": slice(*view.samples), "time": slice(*view.times)}
        return fields.dataset.isel(
            {dim: place for dim, place in chosen.items() if dim in fields.dataset.dims}
        )
    path = Path(data)
    if not path.exists():
        raise MissingFile(f"there is no '{data}'", "give a zarr store, a netCDF file or runs://...")
    try:
        return xr.open_zarr(path, consolidated=False) if path.is_dir() else xr.open_dataset(path)
    except (OSError, ValueError) as error:
        raise MissingFile(
            f"'{data}' cannot be read ({error})", "give a zarr store or a netCDF file"
        ) from error


def _refuse(output: Path) -> None:
    if output.suffix not in SUFFIXES:
        raise InvalidInput(f"'{output}' ends in no known format", f"use one of {', '.join(SUFFIXES)}")
    if output.exists():
        raise InvalidInput(f"'{output}' is there already", "choose another name, or remove it")
