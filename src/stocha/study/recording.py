"""Recorded results: the tables of full-scale runs, committed, and what the README says of them."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from stocha.base.errors import UserError
from stocha.base.files import replace_folder, write_text
from stocha.base.parameters import Value
from stocha.base.paths import project_root, results_root
from stocha.base.recorded import write_provenance
from stocha.study.notebooks import Notebook, read_notebook
from stocha.study.recorded import describe, file_hashes
from stocha.study.runs import Entry

_BEGIN, _END = "<!-- findings: written by `stocha readme` -->", "<!-- end of findings -->"
_PICTURES = "book/static"
_RECORDED = ("parameters.json", "metrics.json")


def record_runs(
    notebooks: Annotated[list[Path], typer.Argument(help="Notebooks whose tables to record.")],
) -> list[Path]:
    """Copy the tables of finished full-scale runs to results/, with their provenance.

    Nothing is copied where the full-scale run of one of them, as its source is now, is not done.
    """
    runs: list[tuple[Notebook, Entry]] = []
    for path in notebooks:
        notebook = read_notebook(path)
        resolved = _full(notebook)
        run = notebook.run(resolved)
        if not run.is_done():
            raise UserError(
                f"{notebook.stem}: its full-scale run is not done: "
                f"stocha run {notebook.source} -p scale=full"
            )
        runs.append((notebook, run))
    return [_record(notebook, run) for notebook, run in runs]


def _record(notebook: Notebook, run: Entry) -> Path:
    target = results_root() / run.group
    partial = target.with_name(f".{run.group}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(run.folder / "tables", partial)
    for name in _RECORDED:
        if (run.folder / name).is_file():
            shutil.copy2(run.folder / name, partial / name)
    about = run.provenance()
    experiments = sorted({result["experiment"] for result in about.get("results", ())})
    own = describe(notebook, experiments, about.get("commit"), _full(notebook), (), {run.id: ()})
    write_provenance(partial, about | {"identity": own, "files": file_hashes(partial)})
    replace_folder(partial, target)
    return target


def _full(notebook: Notebook) -> dict[str, Value]:
    return notebook.declaration.resolve({"scale": "full"})


def findings() -> str:
    """Markdown: the study in a sentence, two figures, five findings, and how many claims stand."""
    from stocha.claims import front  # pandas takes a second that other commands need not spend
    from stocha.claims.all import CLAIMS
    from stocha.claims.ledger import Tables, Verdict, ledger
    from stocha.claims.page import SIGNS, numbers

    tables, counted = Tables(), ledger(CLAIMS)["verdict"].value_counts()
    shown = " ".join(
        f'<img src="{_PICTURES}/{name}.svg" width="49%" alt="{caption}">'
        for name, caption in front.FIGURES.values()
    )
    lines = [
        f"- {SIGNS[each.part.verdict]} {each.text} {numbers(each.part)}. "
        f"[{each.claim.id}](notebooks/{each.claim.page}.py)"
        for each in front.findings(tables)
    ]
    counts = ", ".join(f"{counted[v]} {v}" for v in Verdict if v in counted)
    total = f"{counted.sum()} claims and open questions: {counts}."
    return "\n".join([f"**{front.sentence(tables)}**", "", shown, "", *lines, "", total])


def pictures() -> dict[Path, str]:
    """The README's figures: path in the project → SVG."""
    from stocha.claims import front
    from stocha.claims.drawing import STYLE
    from stocha.claims.ledger import Tables

    tables = Tables()
    return {
        Path(_PICTURES, f"{name}.svg"): f"{getattr(front, name)(tables, STYLE)}\n"
        for name, _ in front.FIGURES.values()
    }


def readme_text(current: str) -> str:
    """The README's text `current` with the findings between its markers brought up to date."""
    head, found, rest = current.partition(_BEGIN)
    _, closed, tail = rest.partition(_END)
    if not (found and closed):
        raise UserError(f"README.md lacks the markers {_BEGIN} and {_END}")
    return f"{head}{_BEGIN}\n{findings()}\n{_END}{tail}"


def write_readme() -> list[Path]:
    """Write the findings, computed from results/, into README.md, and its figures beside."""
    path = project_root() / "README.md"
    try:
        current = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise UserError(f"cannot read {path}: {reason}") from None
    written = {path: readme_text(current)}
    written |= {project_root() / name: svg for name, svg in pictures().items()}
    for target, text in written.items():
        write_text(target, text)
    return list(written)
