#!/usr/bin/env bash
# Starts a Slurm of one node, this machine, as root: slurm-up.sh FOLDER
# Everything it reads and writes is in FOLDER, so that a Slurm installed here is not touched. Its
# clients need SLURM_CONF=FOLDER/slurm.conf and PATH=FOLDER/bin:$PATH. slurm-down.sh FOLDER ends it.
set -euo pipefail
export PATH="$PATH:/usr/sbin"
folder=$(realpath "$1")
host=$(hostname -s)
mkdir -p "$folder"/{bin,state,spool}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])'
}

head -c 1024 /dev/urandom >"$folder/munge.key"
chmod 600 "$folder/munge.key"
# --force: the parent folders may be closed to other users, who have nothing to do with it.
munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" \
    --pid-file="$folder/munged.pid" --log-file="$folder/munged.log" \
    --seed-file="$folder/munged.seed" 2>"$folder/munged.out"

cat >"$folder/slurm.conf" <<CONF
ClusterName=stocha
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
SlurmUser=root
AuthInfo=socket=$folder/munge.socket
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
# Neither control groups nor a database: a container has none.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,batch_sched_delay=1
ReturnToService=2
KillWait=2
SlurmdParameters=config_overrides
NodeName=$host NodeAddr=127.0.0.1 CPUs=2 RealMemory=8000
PartitionName=all Nodes=$host Default=YES MaxTime=60
CONF
# Inside a job Snakemake's plugin clears every SLURM_ variable before it calls srun.
cat >"$folder/bin/srun" <<SRUN
#!/bin/sh
SLURM_CONF="$folder/slurm.conf" exec $(command -v srun) "\$@"
SRUN
chmod +x "$folder/bin/srun"

export SLURM_CONF="$folder/slurm.conf"
slurmctld -f "$SLURM_CONF" -c
slurmd -f "$SLURM_CONF"

for _ in $(seq 100); do
    [ "$(sinfo --noheader --format=%t 2>/dev/null)" = idle ] && exit 0
    sleep 0.1
done
echo "slurm-up: the node is not idle after 10 s:" >&2
sinfo >&2 || true
tail -n 20 "$folder"/*.log >&2
exit 1
