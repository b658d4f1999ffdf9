"""A part of the report, one exercise or study: what it asks, how it is measured, and how its results are told."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from experiments.reporting.settings import Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARED = ("dataset", "runs", "epochs", "latent_dim", "batch_size", "device", "quick")

Values = dict[str, Any]
"""What a part measured, as JSON values, from which it is told."""
Pictures = dict[str, "Figure"]
"""By name, without the ending."""
Measured = tuple[Values, Pictures]


class Story(NamedTuple):
    """Results in words."""

    short: str
    """The answer in a sentence or two."""
    text: str
    """Markdown: tables, pictures as `![caption](name.png)`, and answers; headings from the fourth level on.

    It opens with one table, and one picture if there is any; what stands below a line `---` opens on a click.
    """
    sound: bool = True
    """True if everything that must hold did; where not, the command ends with exit code 1."""


class Demonstration(NamedTuple):
    """A page to try things on, which depends on nothing that is measured."""

    name: str
    """Of its file."""
    make: Callable[[], str]
    """The page, HTML."""


class Part(NamedTuple):
    """One exercise or study."""

    name: str
    """Of its command and of its folder."""
    title: str
    question: str
    help: str | None
    """The docstring of its module: the help text of its command."""
    minutes: Callable[[Settings], float]
    """Expected, on two cores, without any model that another part trains."""
    measure: Callable[..., Measured]
    """A Lab and the command's own options -> results."""
    tell: Callable[[Values], Story]
    """A pure function of the values."""
    uses: tuple[str, ...] = SHARED
    """The settings that its results depend on."""
    options: tuple[Callable, ...] = ()
    """The command's own options, as decorators; what is not given takes the default of `measure`."""
    derivation: str = ""
    """The file beside the part that holds what does not depend on a measurement."""
    obstacle: Callable[[Settings], str] = lambda settings: ""
    """Why the part cannot be measured here, if it cannot."""
    page: str = ""
    """The name of a page of its own, beside the report."""
    steering: tuple[str, ...] = ()
    """Options that say how far to measure, and not what: no result depends on them."""
    finished: Callable[[Values], bool] = lambda values: True
    """False of results that the next measurement goes on with."""
    alone: Callable[[Settings], bool] = lambda settings: False
    """True if it takes so long that `all` tells what its folder holds, and measures it only where it is named."""
    instead: tuple["Part", ...] = ()
    """Parts of the same question, which a flag of the command, by their name, measures in this one's place."""
    demonstration: Demonstration | None = None
    """What the flag --page writes in place of measuring."""
