"""What all readers of delivered files share: what they give, how much, and the packages they need."""

import importlib
from pathlib import Path

import pandas as pd

from koopcast.errors import DataError

MOST_BYTES = 2**30
"""Largest file that is read, unpacked."""
Lost = dict[str, int]
"""Class -> records that are in no table."""
Read = tuple[pd.DataFrame, Lost]
MOST_COLUMNS, MOST_VALUES = 10_000, 5 * 10**7
"""Columns of a table, and rows times columns."""


def demand_size(rows: int, columns: int, path: Path) -> None:
    """Refuse a table that is too large, before it is made: a file of a kilobyte can claim to hold terabytes.

    Raises:
        DataError: It is.
    """
    if columns > MOST_COLUMNS or rows * columns > MOST_VALUES:
        raise DataError(
            f"'{path.name}' holds {rows} rows of {columns}; at most {MOST_COLUMNS} columns and {MOST_VALUES} "
            "values are read",
            "split it",
        )


def imported(name: str, extra: str) -> object:
    """Return a module of an extra.

    Raises:
        DataError: It is not installed.
    """
    package = name.partition(".")[0]
    try:
        importlib.import_module(package)
        return importlib.import_module(name)
    except ImportError as error:
        raise DataError(f"the package '{package}' is missing", f"pip install 'koopcast[{extra}]'") from error
