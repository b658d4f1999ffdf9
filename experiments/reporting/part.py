"""A part of the report, one exercise or study: what it asks, how it is measured, and how its results are told."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from experiments.reporting.settings import SHARED, Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Values = dict[str, Any]
"""What a part measured, as JSON values, from which it is told."""
Pictures = dict[str, "Figure"]
"""The figures by file name, without the ending."""
Measured = tuple[Values, Pictures]


class Story(NamedTuple):
    """Results in words."""

    short: str
    """The answer in a sentence or two."""
    text: str
    """Markdown: tables, pictures as `![caption](name.png)`, and answers; headings from the fourth level on.

    It opens with one table, and one picture if there is any; all below a line `---` is folded, and opens on a click.
    """
    sound: bool = True
    """True if everything that must hold did; if not, the command ends with exit code 1."""


class Demonstration(NamedTuple):
    """An interactive page, which depends on nothing that is measured."""

    name: str
    """The file's name."""
    make: Callable[[], str]
    """The page, HTML."""


class Part(NamedTuple):
    """One exercise or study."""

    name: str
    """The name of its command and its folder."""
    title: str
    question: str
    help: str | None
    """The docstring of its module: the help text of its command."""
    minutes: Callable[[Settings], float]
    """Expected minutes on two cores, without models that other parts train."""
    measure: Callable[..., Measured]
    """A Lab and the command's own options -> results."""
    tell: Callable[[Values], Story]
    """A pure function of the values."""
    uses: tuple[str, ...] = SHARED
    """The settings that its results depend on."""
    options: tuple[Callable, ...] = ()
    """The command's own options, as decorators; an option that is not given takes the default of `measure`."""
    derivation: str = ""
    """The file beside the part with the text that depends on no measurement."""
    obstacle: Callable[[Settings], str] = lambda settings: ""
    """Why the part cannot be measured here, if it cannot."""
    page: str = ""
    """The name of a page of its own, beside the report."""
    steering: tuple[str, ...] = ()
    """Options that say how far to measure, not what: no result depends on them."""
    finished: Callable[[Values], bool] = lambda values: True
    """False if the next measurement must continue from these results."""
    timed: bool = False
    """True if it times programs, so that its results are those of one machine."""
    packages: tuple[str, ...] = ()
    """Packages that its results depend on, beside those of jvae."""
    worked: Callable[[Values], float] = lambda values: 0.0
    """The seconds that results took over several sittings, where they count them."""
    alone: Callable[[Settings], bool] = lambda settings: False
    """True if it takes so long that `all` only reports what its folder holds, unless `--only` names it."""
    instead: tuple["Part", ...] = ()
    """Parts with the same question, each measured instead of this one by a flag with its name."""
    demonstration: Demonstration | None = None
    """What the flag --page writes instead of measuring."""
