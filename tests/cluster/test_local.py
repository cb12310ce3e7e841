"""Snakemake's local executor runs real sweeps on two cores."""

import signal

import pytest

pytestmark = pytest.mark.notebooks


def test_a_killed_workflow_goes_on_and_its_table_is_that_of_sweep_run(make_place, wait_for):
    points = [0.0, 0.5, 1.0]
    place = make_place("snakemake", points)
    with place.held():
        process = place.start(*place.snakemake("--cores", 2))
        wait_for(lambda: place.counts()["running"] == 2)
        # Snakemake alone: what it has started ends by itself, and is found done or waited for.
        process.send_signal(signal.SIGKILL)
        process.wait()
    process.communicate()
    code, output = place.call(*place.snakemake("--cores", 2))
    assert code == 0, output
    assert place.computed() == dict.fromkeys(points, 1)

    reference = make_place("sweep_run", points)
    code, output = reference.call("stocha", "sweep", "run", reference.sweep, "--jobs", 2)
    assert code == 0, output
    assert place.table() == reference.table()


def test_points_done_elsewhere_count_and_a_failing_one_stops_no_other(make_place):
    place = make_place("mixed", [0.75, 0.25])
    code, output = place.call("stocha", "run", place.notebook, "-p", "p=0.25")
    assert code == 0, output
    code, output = place.call(*place.snakemake("--cores", 1))
    assert code == 1
    assert "this point fails" in output
    assert place.counts() == {"done": 1, "running": 0, "failed": 1, "waiting": 0}
    assert place.computed() == {0.25: 1}


def test_a_job_cancelled_when_its_run_is_finished_loses_nothing(make_place, wait_for, descendants):
    place = make_place("late", [0.5])
    with place.held():
        by_hand = place.start("stocha", "run", place.notebook, "-p", "p=0.5")
        wait_for(lambda: place.counts()["running"] == 1)
        process = place.start(*place.snakemake("--cores", 1))
        # It waits for the run that is made by hand, and is killed when that one is there.
        members = wait_for(lambda: descendants(process.pid, "stocha sweep run"))
        for member in members:
            member.suspend()
    assert by_hand.wait(60) == 0
    for member in members:
        member.kill()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1, output
    assert place.counts()["done"] == 1


def test_a_mistake_runs_nothing(make_place):
    place = make_place("mistake", [0.5, 1.5])
    code, output = place.call(*place.snakemake("--cores", 1))
    assert code != 0
    (line,) = [line for line in output.splitlines() if "profile" not in line]
    expected = "grid.p.1: p=1.5: allowed: a float in [0, 1]"
    assert line == f"stocha: {place.sweep}:2: {expected}"
    assert not (place.folder / "runs").exists()


def test_without_the_option_that_protects_finished_runs_nothing_starts(make_place):
    place = make_place("unprotected", [0.5])
    code, output = place.call(*place.snakemake("--cores", 1, "--workflow-profile", "none"))
    assert code != 0
    assert output.splitlines()[-1].startswith("stocha: --keep-incomplete is wanted")
    assert not place.computed()
