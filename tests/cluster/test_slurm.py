"""The Slurm executor runs a real sweep on a one-node Slurm that the test starts and ends."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SYSTEM = os.environ["PATH"] + os.pathsep + "/usr/sbin"
MISSING = [
    name for name in ("munged", "slurmctld", "slurmd") if not shutil.which(name, path=SYSTEM)
]

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(bool(MISSING), reason=f"no {', '.join(MISSING)} here: make test-cluster"),
    pytest.mark.skipif(os.geteuid() != 0, reason="starting Slurm wants root: make test-cluster"),
]

# One node without accounting, and points of seconds: ask squeue, and ask often.
OPTIONS = [
    "--profile",
    HERE.parents[1] / "sweeps" / "profiles" / "slurm",
    "--slurm-no-account",
    "--slurm-status-command=squeue",
    "--slurm-init-seconds-before-status-checks=2",
]


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A running Slurm; the environment in which its commands find it."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    try:
        # Not captured: the daemons would keep the pipe open.
        with open(folder / "up.log", "w+") as log:
            up = subprocess.run([HERE / "slurm-up.sh", folder], stdout=log, stderr=log, check=False)
            log.seek(0)
            assert up.returncode == 0, log.read()
        yield {
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PATH": f"{folder}/bin{os.pathsep}{os.environ['PATH']}",
        }
    finally:
        subprocess.run([HERE / "slurm-down.sh", folder], check=True)


def test_submit_cancel_one_resubmit_and_collect(make_place, wait_for, slurm):
    points = [0.0, 0.5, 1.0]
    place = make_place("slurm_run", points, **slurm)

    def queue(*options: str) -> list[str]:
        return subprocess.run(
            ["squeue", "--noheader", "--format=%i", *options],
            env={**os.environ, **slurm},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()

    with place.held():
        process = place.start(*place.snakemake(*OPTIONS))
        wait_for(lambda: place.counts()["running"] >= 1)
        first = min(queue("--states=running"), key=int)
        subprocess.run(["scancel", first], env={**os.environ, **slurm}, check=True)
        wait_for(lambda: first not in queue())
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 1, output
    assert f"SLURM-job '{first}' failed, SLURM status is: 'CANCELLED'" in output
    assert place.counts() == {"done": 2, "running": 0, "failed": 0, "waiting": 1}

    code, output = place.call(*place.snakemake(*OPTIONS))
    assert code == 0, output
    assert place.computed() == dict.fromkeys(points, 1)

    reference = make_place("sweep_run", points)
    code, output = reference.call("stocha", "sweep", "run", reference.sweep, "--jobs", 2)
    assert code == 0, output
    assert place.table() == reference.table()
