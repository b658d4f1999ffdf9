"""`python -m experiments NAME`: a command for every part, and `all`, which makes one report of them."""

import click

from experiments.everything import PARTS, everything
from experiments.reporting.command import make_command
from jvae.cli.commands import HELP, Commands


@click.group(cls=Commands, context_settings={"help_option_names": HELP, "show_default": True, "max_content_width": 110})
def experiments() -> None:
    """The exercise sheet and the studies: each command answers its question by measurement; `all` makes one report."""


for command in (everything, *map(make_command, PARTS)):
    experiments.add_command(command)

if __name__ == "__main__":
    experiments(prog_name="python -m experiments")
