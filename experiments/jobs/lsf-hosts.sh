#!/bin/bash
# Ten runs of the exercise over two hosts of an LSF cluster, one process a host: bsub < experiments/jobs/lsf-hosts.sh
# Five minutes before the time limit the training is saved and the job is queued again, to resume: -Q names the exit
# code of a training that SIGUSR2 has stopped, 128 + 12.
#BSUB -J jvae
#BSUB -q gpuv100
#BSUB -gpu "num=1:mode=exclusive_process"
#BSUB -n 2
#BSUB -R "span[ptile=1]"
#BSUB -R "rusage[mem=16GB]"
#BSUB -W 01:00
#BSUB -wa USR2
#BSUB -wt 5
#BSUB -Q "140"
#BSUB -o jvae-%J.log
#BSUB -e jvae-%J.log
set -euo pipefail
trap : USR2 # this script receives it too, and must wait for the training to end

. .venv/bin/activate
# jax cannot read LSF's environment: the processes are named here; the first one writes model.npz
mapfile -t hosts < <(sort -u "$LSB_DJOB_HOSTFILE")
processes=()
for i in "${!hosts[@]}"; do
    blaunch -z "${hosts[$i]}" "$PWD/.venv/bin/jvae" train --distributed --coordinator "${hosts[0]}:7777" \
        --num-processes "${#hosts[@]}" --process-id "$i" --resume \
        --latent-dim 10 --epochs 5 --batch-size 128 --runs 10 --model "$PWD/model.npz" &
    processes+=($!)
done

code=0
for process in "${processes[@]}"; do
    while kill -0 "$process" 2> /dev/null; do
        wait "$process" || true # a signal ends the wait, not the process
    done
    wait "$process" || code=$?
done
exit "$code"
