"""Tables as texts: CSV with any separator, also packed with gzip, and whatever stands between the lines."""

import codecs
import csv
import io
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from koopcast.cycles.layout import NAMES, Layout
from koopcast.cycles.reading import MOST_BYTES, Read, demand_size
from koopcast.errors import DataError

MOST_RATIO, FREE_BYTES = 200, 2**24
"""Unpacked bytes for each packed one, beyond which a file is a bomb; those that any may have."""
MOST_TEXT = 2**28
"""Bytes of a text, unpacked."""
SEPARATORS = ",;\t|"
INNER = "\x1f"
"""Stands for the separator where fields were quoted."""
MOST_LINES = 20
"""Lines that one record in quotes may have."""
NO_TEXTS = {
    b"\x1f\x8b": "gzip", b"PAR1": "Parquet", b"CDF\x01": "netCDF", b"CDF\x02": "netCDF", b"CDF\x05": "netCDF",
    b"\x89HDF": "netCDF", b"PK\x03\x04": "zip",
}  # fmt: skip
"""How files of other formats begin."""
SEPARATOR_LINE = re.compile(r'"?sep=.?"?\s*', re.IGNORECASE)
DECIMAL_COMMA = r"^\s*([+-]?\d+),(\d+(?:[eE][+-]?\d+)?)\s*$"


def read_text(path: Path, layout: Layout) -> Read:
    """Return a table of texts, of a file with separators.

    A last line without its end is torn, and left out. Malformed are lines with another number of fields than
    their header, with NUL bytes, or with a quote that does not end. A header may stand anywhere, also with
    columns in another order or under other names: what follows is read by it. Empty lines and those that
    begin with # are none (but for a first header that is one), and neither is the `sep=;` of spreadsheets.
    Where the separator is no comma, a comma within a number is the decimal sign.
    """
    content = _unpacked(path) if path.suffix.lower() == ".gz" else path.read_bytes()
    other = next((name for begin, name in NO_TEXTS.items() if content.startswith(begin)), None)
    if other is not None or content[257:262] == b"ustar":
        raise DataError(
            f"'{path.name}' holds {other or 'tar'} and no table of texts",
            "unpack it, and name it by its format",
        )
    if len(content) > MOST_TEXT:
        raise DataError(f"'{path.name}' holds more than {MOST_TEXT} bytes of text", "split it")
    demand_size(content.count(b"\n") + content.count(b"\r"), 1, path)
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        content = content.decode("utf-16", errors="replace").encode()
    if b"\n" not in content:
        content = content.replace(b"\r", b"\n")
    end = content.rfind(b"\n") + 1
    torn = int(bool(content[end:].strip(b"\0 \t\r")))
    # Files that were joined have marks of their encoding further on.
    text = _decoded(content[:end]).replace("\n\ufeff", "\n").replace("\r\n", "\n").replace("\r", " ")
    lines = text.split("\n")
    found = _records(_headed(lines, layout))
    if not found.lines:
        raise DataError(f"'{path.name}' holds no line", "deliver a table with a header")
    tables: list[pd.DataFrame] = []
    malformed = found.malformed
    for header, rows in _sections(found.lines, found.separator, layout):
        demand_size(len(rows), len(header), path)
        table, odd = _section(header, rows, found.separator)
        tables.append(_alike(table, tables[0], layout) if tables else table)
        malformed += odd
    whole = tables[0] if len(tables) == 1 else pd.concat(tables, ignore_index=True)
    if found.has_decimal_commas:
        for name in whole.columns:
            whole[name] = whole[name].str.replace(DECIMAL_COMMA, r"\1.\2", regex=True)
    lost = {"malformed": malformed, "torn": torn}
    return _with_units(whole, layout), {name: count for name, count in lost.items() if count}


def _headed(lines: Sequence[str], layout: Layout) -> Sequence[str]:
    """Return lines from the header on; one behind # is the last before the records where these have none."""
    begin = int(bool(SEPARATOR_LINE.fullmatch(lines[0])))
    first = next((at for at, line in enumerate(lines) if at >= begin and _is_content(line)), begin)
    said = (
        next((line for line in reversed(lines[begin:first]) if line.startswith("#")), "").lstrip("#").strip()
    )
    if _has_time(said, layout) and not _has_time(lines[first], layout):
        return [said, *lines[first:]]
    return lines[begin:]


def _has_time(header: str, layout: Layout) -> bool:
    names = [name.strip(' "') for name in re.split(f"[{SEPARATORS}]", header)]
    return len(names) > 1 and layout.column("time", names) is not None


def _with_units(table: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    """Return a table without the row of units that ERDDAP writes below a header: `attrs` hold them then."""
    time = layout.column("time", table.columns)
    if time is None or table.empty or str(table[time].iloc[0]).strip() != "UTC":
        return table
    rest = table.iloc[1:].reset_index(drop=True)
    rest.attrs["units"] = {name: str(text).strip() for name, text in table.iloc[0].items()}
    return rest


def _unpacked(path: Path) -> bytes:
    """Return what a gzip file holds, of all its members.

    Raises:
        DataError: It ends early, is damaged, or unpacks to more than a table can.
    """
    packed = path.read_bytes()
    most = min(MOST_BYTES, FREE_BYTES + MOST_RATIO * len(packed))
    parts, size = [], 0
    while packed:
        stream = zlib.decompressobj(wbits=31)
        try:
            parts.append(stream.decompress(packed, most - size + 1))
        except zlib.error as error:
            raise DataError(f"'{path.name}' is damaged ({error})", "deliver it again") from error
        size += len(parts[-1])
        if size > most:
            raise DataError(f"'{path.name}' unpacks to more than {most} bytes", "split it")
        if not stream.eof:
            raise DataError(f"'{path.name}' is cut short", "deliver it again")
        # Zeros after the last member are padding.
        packed = stream.unused_data.lstrip(b"\0")
    return b"".join(parts)


def _decoded(content: bytes) -> str:
    """Return UTF-8 as text; a line that is none is taken as Latin-1, whatever the others are."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        content = content.removeprefix(codecs.BOM_UTF8)
        return "\n".join(map(_decoded_line, content.split(b"\n")))


def _decoded_line(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("latin-1")


class Records(NamedTuple):
    """What stands in a file of texts, a line each and without quotes."""

    lines: list[str]
    malformed: int
    separator: str
    has_decimal_commas: bool


def _records(lines: Sequence[str]) -> Records:
    begin = next((line for line in lines if _is_content(line)), "")
    bare = re.sub(r'"[^"]*"', "", begin)
    separator = max(SEPARATORS, key=bare.count)
    if not any('"' in line for line in lines):
        whole = [line for line in lines if _is_content(line, separator)]
        sound = [line for line in whole if "\0" not in line]
        return Records(sound, len(whole) - len(sound), separator, separator != ",")
    width = bare.count(separator) + 1
    records, malformed, at = [], 0, 0
    while at < len(lines):
        line, count = lines[at], 1
        if not _is_content(line, separator):
            at += 1
            continue
        record: str | None = line.replace(separator, INNER)
        if '"' in line:
            record, count = _unquoted(lines, at, separator, width)
        if record is None or "\0" in record:
            malformed += 1
        else:
            records.append(record)
        at += count
    return Records(records, malformed, INNER, separator != ",")


def _is_content(line: str, separator: str = "\0") -> bool:
    """Return whether a line is a record: also one of separators alone, which may be white space."""
    return line[:1] not in ("", "#") and (not line.isspace() or separator in line)


def _unquoted(lines: Sequence[str], at: int, separator: str, width: int) -> tuple[str | None, int]:
    """Return the record that begins at a line with quotes, and its lines; None for one that does not end."""
    reader = csv.reader(
        (f"{line}\n" for line in lines[at : at + MOST_LINES]), delimiter=separator, skipinitialspace=True
    )
    try:
        fields, count = next(reader, []), reader.line_num
    except csv.Error:  # a field of more than 128 KiB
        return None, 1
    num_quotes = sum(line.count('"') for line in lines[at : at + count])
    if num_quotes % 2 or (count > 1 and len(fields) != width):
        return None, 1
    return INNER.join(text.replace("\n", " ").replace(INNER, " ") for text in fields), count


def _sections(records: list[str], separator: str, layout: Layout) -> Iterator[tuple[list[str], list[str]]]:
    """Yield each header, as names, with the lines below it: one that repeats half of the first one, or names
    a time and each axis.
    """
    names = {name.lower() for name in _fields(records[0], separator) if name}
    starts, least = tuple(names), max(min(2, len(names)), len(names) // 2)
    roles = ("time", *layout.axes)
    times = tuple(layout.names_of("time"))
    breaks = [0]
    for at in range(1, len(records)):
        line = records[at].lstrip(f"{separator} \t").lower()
        if line.startswith(starts) or any(time in line for time in times):
            fields = _fields(line, separator)
            if len(names.intersection(fields)) >= least or all(layout.column(it, fields) for it in roles):
                breaks.append(at)
    for first, last in zip(breaks, [*breaks[1:], len(records)], strict=True):
        yield _fields(records[first], separator), records[first + 1 : last]


def _alike(table: pd.DataFrame, first: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    """Return a table with its columns named as those that mean the same are in the first one."""
    pairs = [
        (layout.column(role, table.columns), layout.column(role, first.columns))
        for role in (*NAMES, *layout.axes)
    ]
    return table.rename(columns={own: name for own, name in pairs if own and name not in (None, *table)})


def _fields(line: str, separator: str) -> list[str]:
    return [text.strip() for text in line.split(separator)]


def _section(header: list[str], rows: list[str], separator: str) -> tuple[pd.DataFrame, int]:
    """Return the table below a header, and how many lines do not fit. Its names are in lower case, unless
    two of them differ in that alone.
    """
    width = len(header) - 1
    sound = [
        row[:-1] if row.count(separator) == width + 1 and row.endswith(separator) else row
        for row in rows
        if row.count(separator) == width or (row.count(separator) == width + 1 and row.endswith(separator))
    ]
    lower = [name.lower() for name in header]
    names = lower if len(set(lower)) == len(set(header)) else header
    text = io.StringIO("\n".join([separator.join(names), *sound]) + "\n")
    # Texts alone: what a column is read as must not depend on the other records of a file.
    table = pd.read_csv(
        text, sep=separator, dtype="str", quoting=csv.QUOTE_NONE, index_col=False, skipinitialspace=True,
        lineterminator="\n", skip_blank_lines=False, keep_default_na=False,
    )  # fmt: skip
    return table, len(rows) - len(sound)
