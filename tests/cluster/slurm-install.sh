#!/usr/bin/env bash
# Installs what test_slurm.py starts, where it is missing: Debian's Slurm and munge.
set -euo pipefail
export PATH="$PATH:/usr/sbin"
for program in slurmctld slurmd munged; do
    command -v "$program" >/dev/null || missing=yes
done
[ -z "${missing:-}" ] && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "test-cluster: wants slurmctld, slurmd and munged, and root to start them;" >&2
    echo "test-cluster: on Debian: apt-get install slurm-wlm munge" >&2
    exit 2
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    slurm-wlm munge >/dev/null
