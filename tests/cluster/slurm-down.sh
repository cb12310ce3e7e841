#!/usr/bin/env bash
# Ends what slurm-up.sh started, by the process ids it left in FOLDER: slurm-down.sh FOLDER
set -uo pipefail
folder=$(realpath "$1")
SLURM_CONF="$folder/slurm.conf" scancel --user=root 2>/dev/null
for daemon in slurmd slurmctld munged; do
    [ -f "$folder/$daemon.pid" ] && kill "$(cat "$folder/$daemon.pid")" 2>/dev/null
done
exit 0
