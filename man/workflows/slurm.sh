#!/bin/bash
#SBATCH --job-name=abdoseg
#SBATCH --array=0-9
#SBATCH --cpus-per-task=4
#SBATCH --mem=6G
#SBATCH --time=04:00:00
#SBATCH --requeue
#
# Ten tasks share the scans below a folder, or those of a list:  sbatch slurm.sh /data/cohort /data/out
# A task that is requeued goes on where it was. At any time: abdoseg report /data/out
#
# A large DICOM tree is looked through once, before:
#   abdoseg segment /data/cohort -o /data/out --dry-run > cases.tsv; sbatch slurm.sh cases.tsv /data/out
set -euo pipefail
scans=("$1")
if [ -f "$1" ] && [ "${1##*.}" = tsv ]; then
    scans=(--from "$1")
fi
abdoseg segment "${scans[@]}" -o "$2" --shard auto --resume --threads "${SLURM_CPUS_PER_TASK:-1}" --progress json
