"""The progress of a training: one line that moves on a terminal, lines elsewhere; compilation counts for neither."""

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from statistics import fmean
from typing import Any, NamedTuple

from tqdm import tqdm

from jvae.runs.loop import Progress

LINE_SECONDS = 30.0
"""Between two lines within an epoch, at least."""
NAME_COLUMNS = 24
"""Of what is trained, in a line that moves, at most."""
COLLAPSED_KL = 0.01
"""In nats per datum: below it the latents carry nothing."""


class Extent(NamedTuple):
    """How much is trained."""

    epochs: int
    images: int
    """That an epoch trains each run on."""
    runs: int
    done: int = 0
    """Epochs taken before."""
    name: str = ""
    """What is trained, where a command trains several."""


class Pace(NamedTuple):
    """How fast a training goes, in epochs per second, counted from a mark at which its programs were compiled."""

    first_epoch: int
    mark: Progress
    marked: float
    """When, in seconds."""
    rate: float | None = None


def next_pace(pace: Pace | None, at: Progress, now: float) -> Pace:
    """Return the pace after a chunk that ended at a time in seconds.

    The first chunk compiles the steps, and what follows the first epoch compiles its summary and its validation: the
    mark moves to the end of the chunks in which these lie.
    """
    if pace is None:
        return Pace(at.epoch, at, now)
    if pace.mark.epoch == pace.first_epoch < at.epoch:
        return pace._replace(mark=at, marked=now)
    return pace._replace(rate=(at.epochs - pace.mark.epochs) / max(now - pace.marked, 1e-9))


def describe_pace(pace: Pace | None, at: Progress, extent: Extent) -> list[str]:
    """Return the time left and the images per second, of all runs together; nothing while they are not known."""
    if pace is None or not pace.rate:
        return []
    left = tqdm.format_interval((extent.epochs - at.epochs) / pace.rate)
    return [f"{left} left", f"{pace.rate * extent.images * at.running:,.0f} images/s"]


def describe_epoch(record: dict[str, Any]) -> str:
    """Return an epoch's record in words, in nats per datum; the means over the runs that went on, of several."""
    means = mean_record(record)
    parts = [f"bound {means['bound']:9.3f}", f"reconstruction {means['reconstruction']:9.3f}", f"kl {means['kl']:7.3f}"]
    if "validation" in means:
        parts.append(f"validation {means['validation']:9.3f}")
    if isinstance(record["bound"], list):
        runs = sum(value is not None for value in record["bound"])
        parts.insert(0, f"mean of {runs} run{'s' * (runs > 1)}:")
    return "  ".join([*parts, f"{means['seconds']:6.2f} s"])


def mean_record(record: dict[str, Any]) -> dict[str, float]:
    """Return an epoch's record with the mean over the runs that went on in place of a list."""
    return {
        name: fmean(v for v in value if v is not None) if isinstance(value, list) else value
        for name, value in record.items()
    }


def collapsed_runs(record: dict[str, Any]) -> set[int]:
    """Return the runs whose mean KL of an epoch, over all dimensions, is below `COLLAPSED_KL`."""
    kl = record["kl"] if isinstance(record["kl"], list) else [record["kl"]]
    return {run for run, value in enumerate(kl) if value is not None and value < COLLAPSED_KL}


class TrainingProgress(ABC):
    """What is said while a training goes on: nothing until it is entered."""

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
        """Take note of a chunk of steps that is done."""
        self.pace, self.at = next_pace(self.pace, at, self.clock()), at
        self.show_chunk()

    def epoch(self, record: dict[str, Any]) -> None:
        """Take note of an epoch that is done, by its record in the history; say once that a run's KL has collapsed."""
        self.show_epoch(record)
        new = collapsed_runs(record) - self.collapsed
        if new:
            self.collapsed |= new
            which = f" of run {', '.join(map(str, sorted(new)))}" if self.extent.runs > 1 else ""
            self.say(
                f"warning: the KL of all dimensions{which} has collapsed: below {COLLAPSED_KL} nats in epoch "
                f"{record['epoch']}; a lower weight of the KL, or its warm-up, may help"
            )

    @property
    def place(self) -> str:
        """What is trained, which epoch, of how many."""
        name = f"{self.extent.name}  " if self.extent.name else ""
        return f"{name}epoch {self.at.epoch}/{self.extent.epochs}"

    @abstractmethod
    def start(self) -> None:
        """Begin to show: nothing is compiled."""

    @abstractmethod
    def end(self) -> None:
        """End, whatever has come of the training."""

    @abstractmethod
    def say(self, line: str) -> None:
        """Say a line."""

    @abstractmethod
    def show_chunk(self) -> None:
        """Show where the training stands."""

    @abstractmethod
    def show_epoch(self, record: dict[str, Any]) -> None:
        """Show what an epoch came to."""


def show_progress(extent: Extent, say: Callable[[str], None], terminal: bool) -> TrainingProgress:
    """Return a line that moves on a terminal, and lines elsewhere."""
    return Bar(extent._replace(name=shorten(extent.name))) if terminal else Lines(extent, say)


def shorten(name: str) -> str:
    """Return a name that leaves room in a line of 80 columns."""
    return name if len(name) <= NAME_COLUMNS else f"{name[: NAME_COLUMNS - 3]}..."


class Lines(TrainingProgress):
    """A line an epoch; within an epoch one after the first chunk, and then now and then."""

    def __init__(self, extent: Extent, say: Callable[[str], None], **others: Any) -> None:
        super().__init__(extent, **others)
        self.write = say
        self.said: float | None = None

    def say(self, line: str) -> None:
        """Say a line."""
        self.write(line)
        self.said = self.clock()

    def start(self) -> None:
        """Say that compilation comes first."""
        self.write(f"{self.place}  compiling")

    def end(self) -> None:
        """Do nothing: every line stands."""

    def show_chunk(self) -> None:
        """Say where the training stands, unless the epoch is over, whose line follows, or a line was said just now."""
        if self.at.step < self.at.num_steps and (self.said is None or self.clock() - self.said >= LINE_SECONDS):
            step = f"step {self.at.step}/{self.at.num_steps}"
            self.say("  ".join([self.place, step, *describe_pace(self.pace, self.at, self.extent)]))

    def show_epoch(self, record: dict[str, Any]) -> None:
        """Say what an epoch came to."""
        pace = describe_pace(self.pace, self.at, self.extent)
        self.say("  ".join([f"{self.place}  {describe_epoch(record)}", *pace]))


class Line(tqdm):
    """A bar between a place and numbers, one column less wide than the terminal, so that no terminal wraps it."""

    monitor_interval = 0  # no thread beside the training
    numbers = "compiling"

    @property
    def format_dict(self) -> dict[str, Any]:
        """What the line is made of."""
        given = super().format_dict
        return given | {"numbers": self.numbers, "ncols": (given["ncols"] or 80) - 1}


class Bar(TrainingProgress):
    """One line that stays where it is; what does not fit into the terminal is left out, from the end."""

    def start(self) -> None:
        """Draw the line."""
        self.means: list[str] = []
        form: dict[str, Any] = {"bar_format": "{desc}|{bar}| {numbers}", "dynamic_ncols": True, "miniters": 0}
        self.line = Line(
            desc=f"{self.place} ", total=self.extent.epochs, initial=self.extent.done, file=sys.stderr, **form
        )

    def end(self) -> None:
        """Leave the line as it is last."""
        self.line.close()

    def say(self, line: str) -> None:
        """Say a line above the bar."""
        self.line.write(line, file=sys.stderr)

    def show_chunk(self) -> None:
        """Move the line."""
        self.draw([*describe_pace(self.pace, self.at, self.extent), *self.means])

    def show_epoch(self, record: dict[str, Any]) -> None:
        """Show the bound that judges the epoch, and the KL."""
        means, of = mean_record(record), "mean " if self.extent.runs > 1 else ""
        name = "validation" if "validation" in means else "bound"
        self.means = [f"{of}{name} {means[name]:.2f}", f"kl {means['kl']:.2f}"]
        self.show_chunk()

    def draw(self, numbers: list[str]) -> None:
        """Set the line's parts; it is drawn ten times a second at most."""
        self.line.desc, self.line.numbers, self.line.n = f"{self.place} ", ", ".join(numbers), self.at.epochs
        self.line.update(0)
