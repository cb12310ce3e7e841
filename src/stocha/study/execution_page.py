"""The book's page on how each of its notebooks was executed, generated from the runs themselves.

myst-nb's own statistics table is empty where Jupyter Book does not execute.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stocha.base.files import read_json
from stocha.base.recorded import PROVENANCE, read_provenance
from stocha.study.runs import Entry

_HEAD = """# How these pages were executed

Generated from the runs this book was built from. A run is named by a hash of the notebook's
source, its resolved parameters, the library files it imports and the recorded tables it reads; two
books that show the same run id show the same computation.
"""

_RECORDED = """
(recorded-tables)=
## Recorded tables

What takes too long to run for every book was run once; its tables are in `results/`, under the name
of the notebook or the sweep, and the pages read them. The time of a sweep is that of its points,
summed. *With changes* says that a file differed from the commit or was not in it.
"""


def execution_page(runs: Mapping[str, Entry], results: Path) -> str:
    """Markdown: one table of all runs, one of the folders recorded in `results`, then parameters,
    versions and hashes of each run."""
    records = [(name, run, run.provenance()) for name, run in runs.items()]
    lines = [_HEAD]
    lines += _table(
        ("notebook", "run", "wall time", "threads", "processor", "commit"),
        (
            (
                f"[{name}]({name}.ipynb)",
                f"`{run.id}`",
                f"{record['seconds']:.1f} s",
                str(record["threads"]),
                record["cpu"],
                _commit(record),
            )
            for name, run, record in records
        ),
    )
    recorded = {
        path.parent.name: read_provenance(path.parent) or {}
        for path in sorted(results.glob(f"*/{PROVENANCE}"))
    }
    lines += [
        _RECORDED,
        *_table(
            ("results", "time", "threads", "processor", "commit"),
            (_recorded_row(name, record) for name, record in recorded.items()),
        ),
        "",
        *sorted({f"Versions: {_versions(record)}." for record in recorded.values()}),
    ]
    for name, run, record in records:
        lines += ["", f"## {name}", ""]
        parameters: dict[str, Any] = read_json(run.folder / "parameters.json")
        lines += _table(
            ("parameter", "value"),
            ((f"`{name}`", f"`{value}`") for name, value in parameters.items()),
        )
        hashes = ", ".join(f"{name} `{value[:12]}`" for name, value in record["hashes"].items())
        lines += [
            "",
            f"Started {record['started']} on {record['system']}, {record['cores']} cores.",
            f"Versions: {_versions(record)}.",
            f"SHA-256: {hashes}.",
        ]
    return "\n".join(lines) + "\n"


def _recorded_row(name: str, record: dict[str, Any]) -> Sequence[str]:
    """What `stocha record` or `stocha sweep collect` wrote, of one run or of a sweep's."""
    sweep = "sweep" in record
    points = f", {record['finished']} of {record['points']} points" if sweep else ""
    return (
        f"`{name}`{points}",
        f"{record['seconds']:,.0f} s",
        ", ".join(map(str, record["threads"] if sweep else [record["threads"]])),
        ", ".join(record["processors"] if sweep else [record["cpu"]]),
        _commit(record),
    )


def _versions(record: dict[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in record["versions"].items())


def _commit(record: dict[str, Any]) -> str:
    commits = record.get("commits") or [record.get("commit")]
    names = ", ".join(f"`{commit[:10]}`" if commit else "not in git" for commit in commits)
    return names + (", with changes" if record.get("dirty") else "")


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]
