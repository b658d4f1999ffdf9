"""The epoch log: one line per epoch, as CSV or JSON lines, which can be read during the training."""

import contextlib
import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from jvae.files import is_stream, open_text, telling_unwritten, without_nan, write_text

Record = dict[str, Any]


@contextlib.contextmanager
def open_epoch_log(path: Path | None, history: Sequence[Record]) -> Iterator[Callable[[Record], None]]:
    """Write the epochs so far to the path, and yield a function that appends another; without a path it does nothing.

    Raises:
        JvaeError: the file cannot be written.
    """
    if path is None:
        yield lambda record: None
        return
    empty = not history
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(open_text(path)) if is_stream(path) else None
        if stream is None:
            write_text(path, "".join(lines_of(path, history)))
        else:
            stream.writelines(lines_of(path, history))

        def append(record: Record) -> None:
            nonlocal empty
            lines, empty = lines_of(path, [record], header=empty), False
            with telling_unwritten(path):
                if stream is None:
                    with path.open(
                        "a", encoding="utf-8", newline=""
                    ) as file:  # closed, hence flushed, after every line
                        file.writelines(lines)
                else:
                    stream.writelines(lines)
                    stream.flush()

        yield append


def lines_of(path: Path, history: Sequence[Record], header: bool = True) -> list[str]:
    """Return the lines of epochs: CSV with a header if the path ends in .csv, else JSON lines."""
    if path.suffix.lower() != ".csv":
        return [json.dumps(without_nan(record), allow_nan=False) + "\n" for record in history]
    rows = [flatten(without_nan(record)) for record in history]
    names = [list(row) for row in rows[:1] if header]
    return [csv_line(row) for row in [*names, *(list(row.values()) for row in rows)]]


def flatten(record: Record) -> Record:
    """Return a record with every list split into one number per run: `bound_0`, `bound_1`, ..."""
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
