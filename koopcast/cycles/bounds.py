"""How large a delivered table may be."""

from pathlib import Path

from koopcast.errors import DataError

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
