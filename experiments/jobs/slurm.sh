#!/bin/bash
# Ten runs of the exercise over two nodes of a SLURM cluster, one process a node: sbatch experiments/jobs/slurm.sh
# Two minutes before the time limit the training is saved and the job is queued again, to resume.
#SBATCH --job-name=jvae
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=4
#SBATCH --mem=16G
#SBATCH --time=01:00:00
#SBATCH --signal=USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=jvae-%j.log
set -euo pipefail

. .venv/bin/activate
jvae datasets fetch mnist # once, before all processes look for it

# jax reads the coordinator and the processes' numbers from SLURM; the first process writes model.npz
code=0
srun jvae train --resume --distributed --latent-dim 10 --epochs 5 --batch-size 128 --runs 10 --model model.npz || code=$?
if [ "$code" -eq $((128 + $(kill -l USR1))) ]; then
    scontrol requeue "$SLURM_JOB_ID" # this ends the script
fi
exit "$code"
