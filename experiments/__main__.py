"""`python -m experiments NAME`: a command for every part, and `all`, which makes one report of them."""

import signal

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # before and after `listening`, Ctrl-C ends without a traceback

from jvae.cli.interruption import ending_at_once, listening
from jvae.cli.streams import open_streams

open_streams()  # before any file is opened that would take a closed stream's number
with listening():  # during the slow imports
    import click

    from experiments.everything import PARTS, everything
    from experiments.reporting.command import make_command
    from jvae.cli.commands import HELP, Commands


FIRST = {
    "python -m experiments baseline": "exercise 1.5: the test ELBO and the aggregate posterior",
    "python -m experiments priors --quick": "any part in its short form",
    "python -m experiments all --output report": "the whole sheet in one report",
}


@click.group(
    cls=Commands,
    first=FIRST,
    context_settings={"help_option_names": HELP, "show_default": True, "max_content_width": 110},
)
def experiments() -> None:
    """The exercise sheet and the studies: each command answers its question by measurement; `all` makes one report."""


for command in (everything, *map(make_command, PARTS)):
    experiments.add_command(command)

if __name__ == "__main__":
    with ending_at_once():
        experiments(prog_name="python -m experiments")
