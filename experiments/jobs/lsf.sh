#!/bin/bash
# Ten runs of the exercise on one GPU of an LSF cluster: bsub < experiments/jobs/lsf.sh
#BSUB -J jvae
#BSUB -q gpuv100
#BSUB -gpu "num=1:mode=exclusive_process"
#BSUB -n 4
#BSUB -R "span[hosts=1]"
#BSUB -R "rusage[mem=4GB]"
#BSUB -W 01:00
#BSUB -o jvae-%J.log
#BSUB -e jvae-%J.log
set -euo pipefail

. .venv/bin/activate
jvae train --latent-dim 10 --epochs 5 --batch-size 128 --runs 10 --model model.npz

# Over several hosts jax cannot read LSF's environment, so the processes are named. With "#BSUB -n 2" and
# "#BSUB -R span[ptile=1]", which give one slot on each of two hosts, this takes the place of the line above:
#
#   hosts=($(sort -u "$LSB_DJOB_HOSTFILE"))
#   for i in "${!hosts[@]}"; do
#       blaunch -z "${hosts[$i]}" "$PWD/.venv/bin/jvae" train --distributed --coordinator "${hosts[0]}:7777" \
#           --num-processes "${#hosts[@]}" --process-id "$i" \
#           --latent-dim 10 --epochs 5 --batch-size 128 --runs 10 --model "$PWD/model.npz" &
#   done
#   wait
