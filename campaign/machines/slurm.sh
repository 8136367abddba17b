#!/bin/sh
# A campaign of `brownout crash` as a Slurm job array, in a folder that the nodes share. From that folder:
#
#   sbatch --export=ALL,SHARDS=8 --array=1-8 slurm.sh --in-process --cuts 1000000 --seed 1 --keep-going
#   brownout crash --merge shard-*.json        # when it has ended; or as a job: sbatch --dependency=afterany:JOB --wrap '...'
#
# Slurm runs a shard again if its node fails. A shard that is killed otherwise asks for that itself, three times at most. What is missing
# nevertheless, the merge names: sbatch --export=ALL,SHARDS=8 --array=3 slurm.sh ... runs shard 3 alone, with the same arguments.
#SBATCH --job-name=brownout
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=shard-%a.log
#SBATCH --exclusive

shard=$SLURM_ARRAY_TASK_ID
"${BROWNOUT:-brownout}" crash "$@" --shard "$shard/${SHARDS:?with --export=ALL,SHARDS=N}" --json "shard-$shard.json"
code=$?
# 0 is good, 1 is a finding, 2 is a wrong argument: again, these would be the same.
if [ "$code" -gt 2 ] && [ "${SLURM_RESTART_COUNT:-0}" -lt 3 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
