"""A sweep's YAML: which notebook, which points, what to collect.

::

    notebook: notebooks/14_toy_run.py
    fixed: {scale: full, epochs: 100}      # the same in every point
    grid: {width: [2, 4], activation: [relu, silu]}    # every combination
    zip: {lr: [1e-3, 3e-4], epochs: [100, 300]}        # paired: first with first, …
    points: [{width: 64, activation: relu}]            # further points
    seeds: 5                               # the notebook's `seed` from 0 to 4, or a list
    collect: {table: final, metrics: [best], tables: [curves]}
    page: {x: width, y: val_loss, hue: activation}

Everything is checked against the notebook's own declared parameters before anything runs.
"""

import functools
import itertools
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from stocha.base.errors import UserError
from stocha.base.parameters import Value
from stocha.base.paths import project_root
from stocha.study.notebooks import Notebook, read_notebook
from stocha.study.results import canonical
from stocha.study.runs import Entry
from stocha.study.sweeps.located import Key, Located, read_located

_KEYS = ("notebook", "fixed", "grid", "zip", "points", "seeds", "collect", "page")
_COLLECT = ("table", "metrics", "tables")
_PAGE = ("title", "x", "y", "hue", "log_x")

_POINTS = 100_000
_NAME = re.compile(r"\w[\w.-]*")

Point = dict[str, Value]
T = TypeVar("T")


@dataclass(frozen=True)
class Collect:
    """What each finished point contributes to the sweep's table."""

    table: str | None
    """A table of the run: all its rows."""
    metrics: tuple[str, ...]
    """Single values of the run's `metrics.json`."""
    tables: tuple[str, ...] = ()
    """Further tables of the run, each collected in a file of its own; a run may lack them."""


@dataclass(frozen=True)
class Sweep:
    """A checked sweep."""

    path: Path
    notebook: Notebook
    points: tuple[Point, ...]
    """Resolved parameters of every point, one seed of every configuration before the next seed."""
    swept: tuple[str, ...]
    """The parameters that differ between points, in the notebook's order."""
    collect: Collect
    page: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The file's name without ending."""
        return self.path.stem

    @functools.cached_property
    def pages(self) -> tuple[Entry, ...]:
        """The executed notebook of every point."""
        return tuple(self.notebook.run(point) for point in self.points)

    @functools.cached_property
    def runs(self) -> tuple[Entry, ...]:
        """What every point makes: an experiment's result, else the executed notebook."""
        results = map(self.notebook.result, self.points)
        return tuple(found or page for found, page in zip(results, self.pages, strict=True))

    @functools.cached_property
    def _places(self) -> dict[str, int]:
        return {run.id: number for number, run in enumerate(self.runs)}

    def place(self, run_id: str) -> int:
        """The index of the point whose run is `run_id`; UserError where there is none any more."""
        if run_id in self._places:
            return self._places[run_id]
        raise UserError(
            f"run {run_id}: not of {self.path} as it is now: the sweep, its notebook or the "
            "library has changed since it was handed out: start again"
        )

    def label(self, point: Point) -> str:
        """The point's swept parameters in words."""
        return ", ".join(f"{name}={point[name]}" for name in self.swept)


def read_sweep(path: str | Path, outside: bool = False) -> Sweep:
    """Read and check the sweep at `path`.

    Args:
        path: its YAML.
        outside: its notebook may lie outside the project. A notebook is code.

    Raises:
        UserError: `file:line: key: what is wrong`.
    """
    path = Path(path)
    if not _NAME.fullmatch(path.stem):
        raise UserError(f"{path}: its name: allowed: letters, digits, _, -, . and an ending")
    document = read_located(path)
    if not isinstance(document.data, dict):
        raise document.mistake((), f"must be a mapping with the keys {', '.join(_KEYS)}")
    document.mapping((), _KEYS)
    notebook = _notebook(document, outside)
    points = _points(document, notebook)
    names = (parameter.name for parameter in notebook.declaration.parameters)
    swept = tuple(name for name in names if any(point[name] != points[0][name] for point in points))
    collect = _collect(document)
    return Sweep(path, notebook, tuple(points), swept, collect, _page(document, swept, collect))


def _notebook(document: Located, outside: bool) -> Notebook:
    named = document.data.get("notebook")
    if not isinstance(named, str):
        raise document.mistake(("notebook",), "must name a text notebook, notebooks/….py")
    try:
        path = (project_root() / named).resolve()
    except (OSError, ValueError):
        raise document.mistake(("notebook",), f"{named!r}: not a path") from None
    if not (outside or path.is_relative_to(project_root())):
        raise document.mistake(("notebook",), f"{named}: outside the project: give --outside")
    return _at(document, ("notebook",), lambda: read_notebook(path))


def _page(document: Located, swept: Sequence[str], collect: Collect) -> dict[str, Any]:
    page = document.mapping(("page",), _PAGE)
    for name, value in page.items():
        if name == "log_x":
            allowed = "true, false" if type(value) is not bool else ""
        elif name == "x" or (name == "hue" and collect.table is None):
            # the rows of a table may differ in what no parameter says, such as the activation
            allowed = (", ".join(swept) or "nothing is swept") if value not in swept else ""
        else:
            allowed = "text" if not isinstance(value, str) else ""
        if allowed:
            raise document.mistake(("page", name), f"{value!r}: allowed: {allowed}")
    return page


def _points(document: Located, notebook: Notebook) -> list[Point]:
    fixed = _assignments(document, notebook, ("fixed",))
    grid, zipped = (_columns(document, notebook, key) for key in ("grid", "zip"))
    explicit = _listed(document, notebook)
    seeds = _seeds(document, notebook)
    groups: dict[str, Mapping[str, Any]] = {"fixed": fixed, "grid": grid, "zip": zipped}
    for (first, ours), (second, theirs) in itertools.combinations(groups.items(), 2):
        for name in ours.keys() & theirs.keys():
            raise document.mistake((second, name), f"stands in `{first}` already")
    if seeds != [None]:
        groups |= {f"points.{n}": point for n, point in enumerate(explicit)}
        for key in (key for key, group in groups.items() if "seed" in group):
            raise document.mistake(("seeds",), f"`seed` stands in `{key}` already")
    lengths = {name: len(values) for name, values in zipped.items()}
    if len(set(lengths.values())) > 1:
        raise document.mistake(("zip",), f"lists of unequal length: {lengths}")
    pairs = [dict(zip(zipped, row, strict=True)) for row in zip(*zipped.values(), strict=True)]
    if math.prod(map(len, grid.values())) * max(len(pairs), 1) > _POINTS:
        raise document.mistake(("grid",), f"allowed: at most {_POINTS} points")
    product = (
        dict(zip(grid, combination, strict=True)) | pair
        for combination in itertools.product(*grid.values())
        for pair in pairs or [{}]
    )
    generated: Iterable[Point] = product if grid or zipped or not explicit else ()
    configurations = [fixed | one for one in itertools.chain(generated, explicit)]
    if (count := len(configurations) * len(seeds)) > _POINTS:
        raise document.mistake((), f"{count} points: allowed: at most {_POINTS}")
    points: dict[str, Point] = {}
    for seed, configuration in itertools.product(seeds, configurations):
        given = configuration | ({} if seed is None else {"seed": seed})
        point = notebook.declaration.resolve(given)
        points.setdefault(json.dumps(canonical(point)), point)
    return list(points.values())


def _listed(document: Located, notebook: Notebook) -> list[Point]:
    """The mappings from parameter to value that stand in the list `points`."""
    points = []
    for number, given in enumerate(document.sequence(("points",))):
        if not isinstance(given, dict) or not given:
            raise document.mistake(("points", number), "must be a mapping from parameter to value")
        points.append(_assignments(document, notebook, ("points", number)))
    return points


def _seeds(document: Located, notebook: Notebook) -> list[Value]:
    given = document.data.get("seeds")
    if given is None:
        return [None]
    if type(given) is int and 1 <= given <= _POINTS:
        given = list(range(given))
    if not isinstance(given, list) or not given:
        what = f"must be a number of seeds, at most {_POINTS}, or a list of seeds"
        raise document.mistake(("seeds",), what)
    return [_value(document, notebook, ("seeds",), "seed", seed) for seed in given]


def _columns(document: Located, notebook: Notebook, key: str) -> dict[str, list[Value]]:
    """A mapping from parameter to list of values, each checked."""
    columns = {}
    for name, values in document.mapping((key,)).items():
        if not isinstance(values, list) or not values:
            raise document.mistake((key, name), "must be a list of values, not empty")
        columns[name] = [
            _value(document, notebook, (key, name, number), name, value)
            for number, value in enumerate(values)
        ]
    return columns


def _assignments(document: Located, notebook: Notebook, key: Key) -> Point:
    return {
        name: _value(document, notebook, (*key, name), name, value)
        for name, value in document.mapping(key).items()
    }


def _value(document: Located, notebook: Notebook, key: Key, name: str, value: Any) -> Value:
    return _at(document, key, lambda: notebook.declaration[name].read(value))


def _at(document: Located, key: Key, check: Callable[[], T]) -> T:
    """The value of `check`, its UserError told with the line and key of the document."""
    try:
        return check()
    except UserError as error:
        raise document.mistake(key, str(error)) from None


def _collect(document: Located) -> Collect:
    given = document.mapping(("collect",), _COLLECT)
    table = given.get("table")
    if table is not None and not _is_name(table):
        raise document.mistake(("collect", "table"), "must be the name of a table of the run")
    named = {}
    for key in ("metrics", "tables"):
        names = given.get(key, [])
        if not isinstance(names, list) or not all(map(_is_name, names)):
            raise document.mistake(("collect", key), f"must be a list of names of {key}")
        named[key] = tuple(names)
    return Collect(table, **named)


def _is_name(value: Any) -> bool:
    """Usable as a file's name, and no path."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None
