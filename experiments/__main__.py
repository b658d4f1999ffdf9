"""`python -m experiments NAME`: the group of the experiments' commands."""

import click

from experiments.baseline import baseline
from experiments.bounds import bounds
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
    """The exercise sheet and the studies: each command states its question and prints its figures."""


for command in (
    baseline,
    priors,
    outputs,
    networks,
    throughput,
    ppca,
    kl,
    hierarchical,
    bounds,
    reparametrisation,
    faults,
    mirror,
):
    experiments.add_command(command)

if __name__ == "__main__":
    experiments(prog_name="python -m experiments")
