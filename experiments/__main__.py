"""`python -m experiments NAME`: the group of the experiments' commands; `all` makes one report of them."""

import click

from experiments.parts.baseline import baseline
from experiments.parts.bounds import bounds
from experiments.parts.code import code
from experiments.parts.faults import faults
from experiments.parts.hierarchical import hierarchical
from experiments.parts.kl import kl
from experiments.parts.mirror import mirror
from experiments.parts.networks import networks
from experiments.parts.outputs import outputs
from experiments.parts.ppca import ppca
from experiments.parts.priors import priors
from experiments.parts.reparametrisation import reparametrisation
from experiments.parts.throughput import throughput
from experiments.reporting.everything import everything
from jvae.cli.options import Commands


@click.group(cls=Commands, context_settings={"show_default": True, "max_content_width": 110})
def experiments() -> None:
    """The exercise sheet and the studies: each command answers its question by measurement; `all` makes one report."""


for command in (
    everything,
    ppca,
    kl,
    hierarchical,
    code,
    baseline,
    priors,
    outputs,
    networks,
    bounds,
    reparametrisation,
    mirror,
    throughput,
    faults,
):
    experiments.add_command(command)

if __name__ == "__main__":
    experiments(prog_name="python -m experiments")
