"""The epoch log: a line an epoch, as CSV or as JSON lines, that can be read while the training goes on."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jvae.errors import JvaeError
from jvae.files import without_nan, write_file

FORMATS = (".csv", ".jsonl")
Record = dict[str, Any]


@contextmanager
def open_epoch_log(path: Path | None, history: Sequence[Record]) -> Iterator[Callable[[Record], None]]:
    """Write the epochs so far in place of what is at the path, and give what appends another; without a path nothing.

    Raises:
        JvaeError: the file cannot be written.
    """
    if path is None:
        yield lambda record: None
        return
    write_file(path, "".join(lines_of(path, history)).encode())
    empty = not history

    def append(record: Record) -> None:
        nonlocal empty
        try:
            with path.open("a", encoding="utf-8", newline="") as file:  # closed, hence flushed, after every line
                file.writelines(lines_of(path, [record], header=empty))
        except OSError as error:
            raise JvaeError(f"{path}: cannot be written: {error.strerror or error}") from error
        empty = False

    yield append


def lines_of(path: Path, history: Sequence[Record], header: bool = True) -> list[str]:
    """Return the lines of epochs in the format of the path's ending; in CSV the first has the columns' names."""
    if path.suffix.lower() == ".jsonl":
        return [json.dumps(without_nan(record), allow_nan=False) + "\n" for record in history]
    rows = [flatten(without_nan(record)) for record in history]
    names = [list(row) for row in rows[:1] if header]
    return [csv_line(row) for row in [*names, *(list(row.values()) for row in rows)]]


def flatten(record: Record) -> Record:
    """Return a record with a number of its own, `bound_0`, `bound_1`, ..., for every run where it has a list."""
    each = (
        [(f"{name}_{run}", v) for run, v in enumerate(value)] if isinstance(value, list) else [(name, value)]
        for name, value in record.items()
    )
    return dict(pair for pairs in each for pair in pairs)


def csv_line(values: list[Any]) -> str:
    """Return a row of CSV; None is an empty field."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(values)
    return buffer.getvalue()
