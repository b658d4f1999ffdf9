"""`python -m experiments NAME`: the group of the experiments' commands; `all` makes one report of them."""

import click

from experiments.baseline import baseline
from experiments.bounds import bounds
from experiments.code import code
from experiments.everything import everything
from experiments.faults import faults
from experiments.hierarchical import hierarchical
from experiments.kl import kl
from experiments.mirror import mirror
from experiments.networks import networks
from experiments.outputs import outputs
from experiments.ppca import ppca
from experiments.priors import priors
from experiments.reparametrisation import reparametrisation
from experiments.throughput import throughput
from jvae.cli_options import Commands


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
