#!/bin/bash
# Ten runs of the exercise on one GPU of an LSF cluster: bsub < experiments/jobs/lsf.sh
# Five minutes before the time limit the training is saved and the job is queued again, to resume: -Q names the exit
# code of a training that SIGUSR2 has stopped, 128 + 12.
#BSUB -J jvae
#BSUB -q gpuv100
#BSUB -gpu "num=1:mode=exclusive_process"
#BSUB -n 4
#BSUB -R "span[hosts=1]"
#BSUB -R "rusage[mem=4GB]"
#BSUB -W 01:00
#BSUB -wa USR2
#BSUB -wt 5
#BSUB -Q "140"
#BSUB -o jvae-%J.log
#BSUB -e jvae-%J.log
set -euo pipefail
trap : USR2 # this script receives it too, and must wait for the training to end

. .venv/bin/activate
jvae train --resume --latent-dim 10 --epochs 5 --batch-size 128 --runs 10 --model model.npz
