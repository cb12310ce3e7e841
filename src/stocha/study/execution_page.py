"""The book's page on how each of its notebooks was executed, generated from the runs themselves.

myst-nb's own statistics table is empty where Jupyter Book does not execute.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from stocha.study.files import read_json
from stocha.study.runs import Run

_HEAD = """# How these pages were executed

Generated from the runs this book was built from. A run is named by a hash of the notebook's
source, its resolved parameters, the library files it imports and the recorded tables it reads; two
books that show the same run id show the same computation.
"""


def execution_page(runs: Sequence[Run]) -> str:
    """Markdown: one table of all runs, then parameters, versions and hashes of each."""
    records = [(run, run.provenance()) for run in runs]
    lines = [_HEAD]
    lines += _table(
        ("notebook", "run", "wall time", "threads", "processor", "commit"),
        (
            (
                f"[{run.stem}]({run.stem}.ipynb)",
                f"`{run.run_id}`",
                f"{record['seconds']:.1f} s",
                str(record["threads"]),
                record["cpu"],
                _commit(record),
            )
            for run, record in records
        ),
    )
    for run, record in records:
        lines += ["", f"## {run.stem}", ""]
        parameters: dict[str, Any] = read_json(run.folder / "parameters.json")
        lines += _table(
            ("parameter", "value"),
            ((f"`{name}`", f"`{value}`") for name, value in parameters.items()),
        )
        versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
        hashes = ", ".join(f"{name} `{value[:12]}`" for name, value in record["hashes"].items())
        lines += [
            "",
            f"Started {record['started']} on {record['system']}, {record['cores']} cores.",
            f"Versions: {versions}.",
            f"SHA-256: {hashes}.",
        ]
    return "\n".join(lines) + "\n"


def _commit(record: dict[str, Any]) -> str:
    if not record.get("commit"):
        return "not in git"
    return f"`{record['commit'][:10]}`" + (", with changes" if record.get("dirty") else "")


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]
