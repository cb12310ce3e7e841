"""`stocha sweep …`."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from stocha.base.errors import UserError
from stocha.base.parameters import Value
from stocha.base.paths import project_root, runs_root
from stocha.study.commands import Jobs, exit_code, make_requests, perform, threads_per_job
from stocha.study.notebooks import read_notebook
from stocha.study.progress import duration
from stocha.study.recorded import all_records
from stocha.study.sweeps.collection import table_path, write_collection
from stocha.study.sweeps.specification import read_sweep
from stocha.study.sweeps.state import STATUSES, State, Status, read_state

_SHOWN = 20
SweepFile = Annotated[Path, typer.Argument(metavar="SWEEP.yml", help="e.g. sweeps/toy_p.yml")]
Outside = Annotated[
    bool,
    typer.Option("--outside", help="Its notebook may lie outside the project; it will be run."),
]


def plan(
    path: SweepFile,
    jobs: Jobs = 1,
    every: Annotated[bool, typer.Option("--all", help="Show every point.")] = False,
    outside: Outside = False,
) -> None:
    """Show the points, what is done already, and the time predicted from finished ones."""
    state = read_state(read_sweep(path, outside))
    sweep = state.sweep
    print(f"{sweep.name}: {len(sweep.points)} points of {sweep.notebook.source}")
    print(f"swept: {', '.join(sweep.swept) or 'nothing'}")
    _print_counts(state, jobs)
    rows = list(zip(sweep.runs, state.statuses, sweep.points, strict=True))
    shown = rows if every else rows[:_SHOWN]
    for run, status, point in shown:
        print(f"  {run.id}  {status:9}{sweep.label(point)}")
    if len(shown) < len(rows):
        print(f"  … and {len(rows) - len(shown)} more: --all shows them")


def run(
    path: SweepFile,
    jobs: Jobs = 1,
    threads: Annotated[
        int | None, typer.Option("--threads", "-t", help="Numeric threads a point.")
    ] = 1,
    retry: Annotated[bool, typer.Option("--retry", help="Run failed points again.")] = False,
    point: Annotated[
        str | None, typer.Option("--point", metavar="RUN", help="Only the point of this run.")
    ] = None,
    outside: Outside = False,
) -> int:
    """Execute the points that are not done; exit code 1 where any has failed at the end."""
    sweep = read_sweep(path, outside)
    threads = threads_per_job(jobs, threads)
    if point is not None:
        own = sweep.points[sweep.place(point)]
        return exit_code(perform(make_requests([(sweep.notebook, own)], threads), jobs))
    state = read_state(sweep)
    again: tuple[Status, ...] = ("failed",) if retry else ()
    wanted = state.with_status("waiting", "running", *again)
    done = state.count("done") + state.count("recorded")
    requests = make_requests(((sweep.notebook, one) for one, _ in wanted), threads)
    print(f"{sweep.name}: {done} of {len(sweep.points)} points done before", file=sys.stderr)
    outcomes = perform([replace(r, note=sweep.label(dict(r.parameters))) for r in requests], jobs)
    failed = read_state(sweep).with_status("failed")
    for one, failed_run in failed:
        kept = sweep.notebook.run(one).failed
        print(f"failed: {failed_run.id}  {sweep.label(one)}  {kept}")
    if failed:
        print(f"{len(failed)} failed; to try again: stocha sweep run {path} --retry")
    return exit_code(outcomes) or int(bool(failed))


def status(path: SweepFile, jobs: Jobs = 1, outside: Outside = False) -> None:
    """Show how many points are done, running, failed and waiting, and the time left."""
    state = read_state(read_sweep(path, outside))
    _print_counts(state, jobs)
    for wanted in ("running", "failed"):
        for point, point_run in state.with_status(wanted):
            print(f"  {wanted}: {point_run.id}  {state.sweep.label(point)}")


def collect(
    path: SweepFile,
    output: Annotated[
        Path | None, typer.Option(help="CSV to write; default: results/SWEEP/points.csv.")
    ] = None,
    outside: Outside = False,
) -> list[Path]:
    """Write one tidy table, with run ids, of the points that are done."""
    sweep = read_sweep(path, outside)
    state = read_state(sweep)
    missing = len(sweep.points) - len(state.with_status("done", "recorded"))
    written = write_collection(sweep, state, output)
    if missing:
        print(f"{missing} of {len(sweep.points)} points are not done yet", file=sys.stderr)
    return [written]


def page(path: SweepFile, outside: Outside = False) -> int:
    """Execute a notebook page: table, figure over the swept parameter, links to every run."""
    sweep = read_sweep(path, outside)
    if not sweep.swept:
        raise UserError(f"{path}: one point: allowed: two or more, for a page on them")
    state = read_state(sweep)
    template = read_notebook(project_root() / "notebooks" / "90_sweep.py")
    table = write_collection(sweep, state, runs_root() / "collected" / sweep.name / "points.csv")
    given: dict[str, Value] = {"sweep": str(path.resolve()), "table": str(table), "links": True}
    # The table lies outside the hashed inputs, so an earlier page says nothing of it.
    outcomes = perform(make_requests([(template, given)], threads=1, fresh=True), jobs=1)
    for outcome in outcomes:
        if outcome.status != "failed":
            print(outcome.run.notebook)
    return exit_code(outcomes)


def recorded() -> None:
    """Show which recorded tables the code of today would give, or what has changed since."""
    for record in all_records():
        notebook = read_notebook(project_root() / record.notebook)
        full = notebook.declaration.resolve({"scale": "full"})
        if not record.is_current(notebook):
            said = f"made before {record.changes(notebook)} changed"
        elif not record.swept and record.run_ids([full]) == [None]:
            said = "made with other parameters than the full scale's of today"
        else:
            said = "current"
        print(f"{record.folder.name}: {said}")


def _print_counts(state: State, jobs: int) -> None:
    """The counts, and the time left; `jobs` may be those of a larger machine than this one."""
    print(", ".join(f"{state.count(status)} {status}" for status in STATUSES))
    if state.record is not None and not any(state.recorded):
        table, sweep = table_path(state.sweep), state.sweep
        since = state.record.changes(sweep.notebook) or "the parameters"
        print(f"recorded: {len(state.record.points)} points, {table}, not found again: since then")
        print(f"  {since} changed")
    left, each = state.seconds_left(jobs), state.seconds_a_point
    if left is None or each is None:
        print("time left: unknown until a point is done")
    elif left:
        print(f"time left: about {duration(left)} with {jobs} job(s), {each:.1f} s a point")
