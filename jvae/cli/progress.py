"""The progress of a training: a bar on a terminal, lines elsewhere; rates exclude compilation."""

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from statistics import fmean
from typing import Any, NamedTuple

from tqdm import tqdm

from jvae.runs.conditions import Progress

LINE_SECONDS = 30.0
"""The least time between two lines within an epoch."""
NAME_COLUMNS = 24
"""The most columns for the name of what is trained, in a bar."""
COLLAPSED_KL = 0.01
"""A KL in nats per datum below which the latents carry no information."""


class Extent(NamedTuple):
    """The extent of a training."""

    epochs: int
    images: int
    """The images that an epoch trains each run on."""
    runs: int
    done: int = 0
    """The epochs trained before."""
    name: str = ""
    """The name of the training, if a command runs several."""


class Pace(NamedTuple):
    """The speed of a training, in epochs per second, from a mark when its programs were compiled."""

    first_epoch: int
    mark: Progress
    marked: float
    """The mark's time, in seconds."""
    rate: float | None = None


def next_pace(pace: Pace | None, at: Progress, now: float) -> Pace:
    """Return the pace after a chunk that ended at the time `now`, in seconds.

    The first chunk compiles the steps, and the end of the first epoch compiles its summary and validation: the mark
    moves to the end of the chunks that include this time.
    """
    if pace is None:
        return Pace(at.epoch, at, now)
    if pace.mark.epoch == pace.first_epoch < at.epoch:
        return pace._replace(mark=at, marked=now)
    return pace._replace(rate=(at.epochs - pace.mark.epochs) / max(now - pace.marked, 1e-9))


def describe_pace(pace: Pace | None, at: Progress, extent: Extent) -> list[str]:
    """Return the time left and the images per second of all runs together; empty while they are unknown."""
    if pace is None or not pace.rate:
        return []
    left = tqdm.format_interval((extent.epochs - at.epochs) / pace.rate)
    return [f"{left} left", f"{pace.rate * extent.images * at.running:,.0f} images/s"]


def describe_epoch(record: dict[str, Any]) -> str:
    """Return an epoch's record in words, in nats per datum; for several runs, the means over the running ones."""
    means = mean_record(record)
    parts = [f"bound {means['bound']:9.3f}", f"reconstruction {means['reconstruction']:9.3f}", f"kl {means['kl']:7.3f}"]
    if "validation" in means:
        parts.append(f"validation {means['validation']:9.3f}")
    if isinstance(record["bound"], list):
        runs = sum(value is not None for value in record["bound"])
        parts.insert(0, f"mean of {runs} run{'s' * (runs > 1)}:")
    return "  ".join([*parts, f"{means['seconds']:6.2f} s"])


def mean_record(record: dict[str, Any]) -> dict[str, float]:
    """Return an epoch's record with every list replaced by its mean over the running runs."""
    return {
        name: fmean(v for v in value if v is not None) if isinstance(value, list) else value
        for name, value in record.items()
    }


def collapsed_runs(record: dict[str, Any]) -> set[int]:
    """Return the runs whose KL in an epoch, over all dimensions, is below `COLLAPSED_KL`."""
    kl = record["kl"] if isinstance(record["kl"], list) else [record["kl"]]
    return {run for run, value in enumerate(kl) if value is not None and value < COLLAPSED_KL}


class TrainingProgress(ABC):
    """The progress display of a training; it shows nothing until it is entered."""

    def __init__(self, extent: Extent, clock: Callable[[], float] = time.perf_counter) -> None:
        self.extent, self.clock = extent, clock
        self.pace: Pace | None = None
        self.at = Progress(extent.done + 1, 0, 1, extent.runs)
        self.collapsed: set[int] = set()

    def __enter__(self) -> "TrainingProgress":
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def chunk(self, at: Progress) -> None:
        """Show that a chunk of steps is done."""
        self.pace, self.at = next_pace(self.pace, at, self.clock()), at
        self.show_chunk()

    def epoch(self, record: dict[str, Any]) -> None:
        """Show that an epoch is done, by its record in the history; warn once if a run's KL has collapsed."""
        if self.pace and self.pace.first_epoch < record["epoch"] and self.pace.mark == self.at:
            self.pace = self.pace._replace(rate=1 / max(record["seconds"], 1e-9))  # one chunk took the epoch
        self.show_epoch(record)
        new = collapsed_runs(record) - self.collapsed
        if new:
            self.collapsed |= new
            which = f" of run {', '.join(map(str, sorted(new)))}" if self.extent.runs > 1 else ""
            self.say(
                f"warning: the KL of all dimensions{which} has collapsed: below {COLLAPSED_KL} nats in epoch "
                f"{record['epoch']}; a lower KL weight, or a KL warm-up, may help"
            )

    @property
    def place(self) -> str:
        """The name of the training, the epoch and the number of epochs."""
        name = f"{self.extent.name}  " if self.extent.name else ""
        return f"{name}epoch {self.at.epoch}/{self.extent.epochs}"

    @abstractmethod
    def start(self) -> None:
        """Start the display, before anything is compiled."""

    @abstractmethod
    def end(self) -> None:
        """End the display, also after an error."""

    @abstractmethod
    def say(self, line: str) -> None:
        """Say a line."""

    @abstractmethod
    def show_chunk(self) -> None:
        """Show the progress within an epoch."""

    @abstractmethod
    def show_epoch(self, record: dict[str, Any]) -> None:
        """Show an epoch's results."""


def show_progress(extent: Extent, say: Callable[[str], None], terminal: bool) -> TrainingProgress:
    """Return a bar on a terminal, and lines elsewhere."""
    return Bar(extent._replace(name=shorten(extent.name))) if terminal else Lines(extent, say)


def shorten(name: str) -> str:
    """Return a name, shortened to leave room in a line of 80 columns."""
    return name if len(name) <= NAME_COLUMNS else f"{name[: NAME_COLUMNS - 3]}..."


class Lines(TrainingProgress):
    """One line per epoch; within an epoch one after the first chunk, and then occasionally."""

    def __init__(self, extent: Extent, say: Callable[[str], None], **others: Any) -> None:
        super().__init__(extent, **others)
        self.write = say
        self.said: float | None = None

    def say(self, line: str) -> None:
        """Say a line."""
        self.write(line)
        self.said = self.clock()

    def start(self) -> None:
        """Print that compilation comes first."""
        self.write(f"{self.place}  compiling")

    def end(self) -> None:
        """Do nothing: every line is complete."""

    def show_chunk(self) -> None:
        """Print the progress, unless the epoch is over, and its line follows, or a line was printed recently."""
        if self.at.step < self.at.num_steps and (self.said is None or self.clock() - self.said >= LINE_SECONDS):
            step = f"step {self.at.step}/{self.at.num_steps}"
            self.say("  ".join([self.place, step, *describe_pace(self.pace, self.at, self.extent)]))

    def show_epoch(self, record: dict[str, Any]) -> None:
        """Print an epoch's results."""
        pace = describe_pace(self.pace, self.at, self.extent)
        self.say("  ".join([f"{self.place}  {describe_epoch(record)}", *pace]))


class Line(tqdm):
    """A bar between a name and numbers, one column narrower than the terminal, so that no terminal wraps it."""

    monitor_interval = 0  # no thread beside the training
    numbers = "compiling"

    @property
    def format_dict(self) -> dict[str, Any]:
        """The parts of the line."""
        given = super().format_dict
        return given | {"numbers": self.numbers, "ncols": (given["ncols"] or 80) - 1}


class Bar(TrainingProgress):
    """One line that is redrawn in place; parts that do not fit the terminal are left out, from the end."""

    def start(self) -> None:
        """Draw the line."""
        self.means: list[str] = []
        form: dict[str, Any] = {"bar_format": "{desc}|{bar}| {numbers}", "dynamic_ncols": True, "miniters": 0}
        self.line = Line(
            desc=f"{self.place} ", total=self.extent.epochs, initial=self.extent.done, file=sys.stderr, **form
        )

    def end(self) -> None:
        """Leave the last line visible."""
        self.line.close()

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self.line.write(line, file=sys.stderr)

    def show_chunk(self) -> None:
        """Advance the bar."""
        self.draw([*describe_pace(self.pace, self.at, self.extent), *self.means])

    def show_epoch(self, record: dict[str, Any]) -> None:
        """Show the bound that judges the epoch, and the KL."""
        means, of = mean_record(record), "mean " if self.extent.runs > 1 else ""
        name = "validation" if "validation" in means else "bound"
        self.means = [f"{of}{name} {means[name]:.2f}", f"kl {means['kl']:.2f}"]
        self.show_chunk()

    def draw(self, numbers: list[str]) -> None:
        """Set the line's parts; it is drawn at most ten times per second."""
        self.line.desc, self.line.numbers, self.line.n = f"{self.place} ", ", ".join(numbers), self.at.epochs
        self.line.update(0)
