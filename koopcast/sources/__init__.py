"""Readers of real files."""

from typing import Annotated, TypeAlias

from koopcast.sources.netcdf import NetCDFSpec
from koopcast.sources.table import TableSpec
from koopcast.sources.zarr import ZarrSpec
from koopcast.spec import Family

AnySource: TypeAlias = Annotated[NetCDFSpec | TableSpec | ZarrSpec, Family("sources")]

__all__ = ["AnySource", "NetCDFSpec", "TableSpec", "ZarrSpec"]
