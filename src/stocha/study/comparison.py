"""`stocha diff`: what is equal in two executions, what differs, and by how much."""

import csv
import json
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Annotated, Any

import typer

from stocha.base.errors import UserError
from stocha.base.files import read_json, write_text
from stocha.base.paths import runs_root
from stocha.base.recorded import PROVENANCE, read_table
from stocha.study.runs import DONE, Entry

Values = dict[str, str]
"""Place, as "curve.csv: loss" or "metrics: best" → everything that stands there, as JSON."""

_ABOUT = {"commit": "commits", "cpu": "processors", "threads": "threads", "seconds": "seconds"}
"""What is shown of a run's provenance, and the name that a sweep's has for it."""
_CSV, _ROWS = ".csv: ", ": rows"
_PARTS = {"parameters": "parameters: ", "tables": _CSV, "numbers": "metrics: "}
_IMAGES = {"image/png", "image/svg+xml"}
_WIDTH = 100
_RUN = typer.Argument(metavar="RUN", help="A folder of an execution, or how its id begins.")


def compare(
    left: Annotated[str, _RUN],
    right: Annotated[str, _RUN],
    page: Annotated[
        Path | None, typer.Option(help="Write the figures that differ side by side, as HTML.")
    ] = None,
) -> int:
    """Show what differs between two executions: parameters, versions, tables, numbers, figures.

    A RUN is a folder, as `stocha run` prints it or of results/, or the beginning of a run's id. A
    table's column is compared row by row. Exit code: 0 where all but the versions is equal, 1 where
    something differs, 2 a mistake in the call.
    """
    folders = [_locate(text) for text in (left, right)]
    about = [read_json(folder / PROVENANCE) or {} for folder in folders]
    for name, folder in zip("ab", folders, strict=True):
        print(f"{name}: {folder}")
    for name, plural in _ABOUT.items():
        shown = (str(side.get(name, side.get(plural, "unknown"))) for side in about)
        print(f"{name}: {' | '.join(shown)}")
    versions = ({k: json.dumps(v) for k, v in a.get("versions", {}).items()} for a in about)
    _report("versions", *versions)
    sides = _row_by_row(*map(values, folders))
    differing = [
        _report(kind, *({k: v for k, v in side.items() if mark in k} for side in sides))
        for kind, mark in _PARTS.items()
    ]
    drawn = [_figures(folder) for folder in folders]
    differing.append(_report("figures", *drawn))
    if page is not None:
        write_text(page, _side_by_side(folders, drawn, differing[-1]))
        print(page)
    return int(any(differing))


def values(folder: Path) -> Values:
    """Every column of the tables, every single number and every parameter of an execution."""
    found: Values = {}
    for path in sorted((*folder.glob("tables/*.csv"), *folder.glob("*.csv"))):
        with open(path, encoding="utf-8", newline="") as stream:
            rows = list(csv.reader(stream))
        for number, name in enumerate(rows[0] if rows else []):
            found[f"{path.name}: {name}"] = json.dumps([row[number] for row in rows[1:]])
    for kind in ("metrics", "parameters"):
        single: Mapping[str, Any] = read_json(folder / f"{kind}.json") or {}
        found |= {f"{kind}: {name}": json.dumps(value) for name, value in single.items()}
    return found


def difference(before: str | None, after: str | None) -> str:
    """How far two texts of `Values` are apart, in words; None stands for nothing."""
    if before is None or after is None:
        return f"in {'b' if before is None else 'a'} alone"
    old, new = json.loads(before), json.loads(after)
    old, new = (value if isinstance(value, list) else [value] for value in (old, new))
    if len(old) != len(new):
        return f"{len(old)} values and {len(new)}"
    try:
        pairs = [(float(a), float(b)) for a, b in zip(old, new, strict=True) if a != b]
    except (TypeError, ValueError):
        return "other values"
    gaps = [(abs(a - b), abs(a - b) / (max(abs(a), abs(b)) or 1)) for a, b in pairs]
    most, share = map(max, zip(*gaps, strict=True))
    return (
        f"{len(pairs)} of {len(old)} values differ, by up to {most:.1e}, {share:.1e} of themselves"
    )


def _row_by_row(*sides: Values) -> list[Values]:
    """The values; of a table that is in one alone, or longer in one, its number of rows alone."""
    counts = [
        {
            place.split(": ")[0]: len(json.loads(text))
            for place, text in side.items()
            if _CSV in place
        }
        for side in sides
    ]
    apart = {name for name in counts[0] | counts[1] if len({c.get(name) for c in counts}) > 1}
    return [
        {place: text for place, text in side.items() if place.split(": ")[0] not in apart}
        | {name + _ROWS: str(own[name]) for name in sorted(apart & own.keys())}
        for side, own in zip(sides, counts, strict=True)
    ]


def _report(kind: str, left: Values, right: Values) -> list[str]:
    """Print what differs in one part of two executions; the places that do."""
    places = list(left | right)
    differing = [place for place in places if left.get(place) != right.get(place)]
    print(f"{kind}: {len(places) - len(differing)} equal, {len(differing)} different")
    for place in differing:
        one, other = left.get(place), right.get(place)
        both = f"{one} | {other}"
        whole = _CSV not in place or place.endswith(_ROWS)
        brief = whole and one and other and len(both) < _WIDTH
        name = place.removeprefix(_PARTS.get(kind, ""))
        print(f"   {name}: {both if brief else difference(one, other)}")
    return differing


def _locate(text: str) -> Path:
    """The folder of the execution that `text` names; UserError where it is none, or damaged."""
    folder = Path(text).resolve()
    if not (folder / PROVENANCE).is_file():
        allowed = "a folder of a run or of results/, or the beginning of one run's id"
        begins = re.fullmatch(r"[0-9a-f]+", text)
        found = [path.parent for path in runs_root().glob(f"*/{text}*/{DONE}")] if begins else []
        if len(found) != 1:
            raise UserError(f"run={text}: allowed: {allowed}: {len(found)} runs begin so")
        (folder,) = found
    if not (folder / DONE).is_file():
        for path in folder.glob("*.csv"):
            read_table(path)
    elif not Entry(str(folder.parent), folder.name).is_done():
        raise UserError(f"run={text}: allowed: a run whose files are as it left them")
    return folder


def _figures(folder: Path) -> Values:
    """Name → address of the image, as JSON, of every figure of an executed notebook."""
    found: Values = {}
    for path in folder.glob("*.ipynb"):
        for number, cell in enumerate((read_json(path) or {})["cells"]):
            own = cell["metadata"].get("mystnb", {}).get("figure", {})
            for output in cell.get("outputs", ()):
                for kind in _IMAGES & output.get("data", {}).keys():
                    text = "".join(output["data"][kind])
                    coded = text if kind == "image/png" else b64encode(text.encode()).decode()
                    data = "".join(coded.split())
                    name = own.get("name", f"cell {number}")
                    found[name] = json.dumps(f"data:{kind};base64,{data}")
    return found


def _side_by_side(folders: Sequence[Path], drawn: Sequence[Values], names: Sequence[str]) -> str:
    """HTML of the figures `names`, the two executions' beside each other."""
    lines = ['<!doctype html><meta charset="utf-8"><title>stocha diff</title>']
    lines += [f"<p>{escape(str(folder))}</p>" for folder in folders]
    for name in names:
        lines.append(f"<h2>{escape(name)}</h2>")
        for side in drawn:
            image = f'<img width="49%" alt="{escape(name)}" src={side.get(name)}>'
            lines.append(image if name in side else "<p>not there</p>")
    return "\n".join(lines) + "\n"
