"""A sweep's YAML: which notebook, which points, what to collect.

::

    notebook: notebooks/14_toy_run.py
    fixed: {scale: full, epochs: 100}      # the same in every point
    grid: {width: [2, 4], activation: [relu, silu]}    # every combination
    zip: {lr: [1e-3, 3e-4], epochs: [100, 300]}        # paired: first with first, …
    points: [{width: 64, activation: relu}]            # further points
    exclude: [{width: 2, activation: silu}]            # points that match are left out
    seeds: 5                               # the notebook's `seed` from 0 to 4, or a list
    collect: {table: final, metrics: [best], tables: [curves]}
    page: {x: width, y: val_loss, hue: activation}

Everything is checked against the notebook's own declared parameters before anything runs.
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from stocha.base.errors import UserError
from stocha.base.parameters import Value
from stocha.base.paths import project_root
from stocha.study.notebooks import Notebook, read_notebook
from stocha.study.runs import Entry, Run
from stocha.study.sweeps.located import Key, Located, read_located

_KEYS = ("notebook", "fixed", "grid", "zip", "points", "exclude", "seeds", "collect", "page")
_COLLECT = ("table", "metrics", "tables")
_PAGE = ("title", "x", "y", "hue", "log_x", "log_y")

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
    def pages(self) -> tuple[Run, ...]:
        """The executed notebook of every point."""
        return tuple(self.notebook.run(point) for point in self.points)

    @functools.cached_property
    def runs(self) -> tuple[Entry, ...]:
        """What every point makes: an experiment's result, else the executed notebook."""
        results = map(self.notebook.result, self.points)
        return tuple(found or page for found, page in zip(results, self.pages, strict=True))

    def label(self, point: Point) -> str:
        """The point's swept parameters in words."""
        return ", ".join(f"{name}={point[name]}" for name in self.swept)


def read_sweep(path: str | Path) -> Sweep:
    """Read and check the sweep at `path`.

    Raises:
        UserError: `file:line: key: what is wrong`.
    """
    document = read_located(Path(path))
    if not isinstance(document.data, dict):
        raise document.mistake((), f"must be a mapping with the keys {', '.join(_KEYS)}")
    _known_keys(document, (), _KEYS)
    notebook = _notebook(document)
    points = _points(document, notebook)
    swept = tuple(
        parameter.name
        for parameter in notebook.declaration.parameters
        if any(point[parameter.name] != points[0][parameter.name] for point in points)
    )
    page = _mapping(document, ("page",))
    _known_keys(document, ("page",), _PAGE)
    return Sweep(Path(path), notebook, tuple(points), swept, _collect(document), page)


def _notebook(document: Located) -> Notebook:
    named = document.data.get("notebook")
    if not isinstance(named, str):
        raise document.mistake(("notebook",), "must name a text notebook, notebooks/….py")
    path = project_root() / named
    return _at(document, ("notebook",), lambda: read_notebook(path))


def _points(document: Located, notebook: Notebook) -> list[Point]:
    configurations = list(_configurations(document, notebook))
    seeds = _seeds(document, notebook)
    points: dict[str, Point] = {}
    for seed in seeds:
        for configuration in configurations:
            given = configuration | ({} if seed is None else {"seed": seed})
            point = notebook.declaration.resolve(given)
            points.setdefault(repr(sorted(point.items())), point)
    if not points:
        raise document.mistake((), "no point is left: give grid, zip, points or seeds")
    return list(points.values())


def _configurations(document: Located, notebook: Notebook) -> Iterator[Point]:
    """Points without their seed, in the order of the file."""
    fixed = _assignments(document, notebook, ("fixed",))
    grid = _columns(document, notebook, "grid")
    zipped = _columns(document, notebook, "zip")
    _disjoint(document, {"fixed": fixed, "grid": grid, "zip": zipped})
    lengths = {name: len(values) for name, values in zipped.items()}
    if len(set(lengths.values())) > 1:
        raise document.mistake(("zip",), f"lists of unequal length: {lengths}")
    pairs = [dict(zip(zipped, row, strict=True)) for row in zip(*zipped.values(), strict=True)] or [
        {}
    ]
    explicit = [
        _assignments(document, notebook, ("points", number))
        for number in range(len(_sequence(document, ("points",))))
    ]
    excluded = [
        _assignments(document, notebook, ("exclude", number))
        for number in range(len(_sequence(document, ("exclude",))))
    ]
    product = (
        dict(zip(grid, combination, strict=True)) | pair
        for combination in itertools.product(*grid.values())
        for pair in pairs
    )
    generated: Iterable[Point] = product if grid or zipped or not explicit else ()
    for configuration in itertools.chain(generated, explicit):
        point = fixed | configuration
        resolved = notebook.declaration.resolve(point)
        if not any(_matches(resolved, rule) for rule in excluded):
            yield point


def _matches(point: Point, rule: Point) -> bool:
    return all(point[name] == value for name, value in rule.items())


def _seeds(document: Located, notebook: Notebook) -> list[Value]:
    given = document.data.get("seeds")
    if given is None:
        return [None]
    if type(given) is int and given >= 1:
        given = list(range(given))
    if not isinstance(given, list) or not given:
        raise document.mistake(("seeds",), "must be a number of seeds or a list of seeds")
    return [_value(document, notebook, ("seeds",), "seed", seed) for seed in given]


def _columns(document: Located, notebook: Notebook, key: str) -> dict[str, list[Value]]:
    """A mapping from parameter to list of values, each checked."""
    columns = {}
    for name, values in _mapping(document, (key,)).items():
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
        for name, value in _mapping(document, key).items()
    }


def _value(document: Located, notebook: Notebook, key: Key, name: str, value: Any) -> Value:
    return _at(document, key, lambda: notebook.declaration[name].read(value))


def _at(document: Located, key: Key, check: Callable[[], T]) -> T:
    """The value of `check`, its UserError told with the line and key of the document."""
    try:
        return check()
    except UserError as error:
        raise document.mistake(key, str(error)) from None


def _disjoint(document: Located, groups: Mapping[str, Mapping[str, Any]]) -> None:
    for (first, ours), (second, theirs) in itertools.combinations(groups.items(), 2):
        for name in ours.keys() & theirs.keys():
            raise document.mistake((second, name), f"stands in `{first}` already")


def _collect(document: Located) -> Collect:
    given = _mapping(document, ("collect",))
    _known_keys(document, ("collect",), _COLLECT)
    table = given.get("table")
    if table is not None and not isinstance(table, str):
        raise document.mistake(("collect", "table"), "must be the name of a table of the run")
    named = {}
    for key in ("metrics", "tables"):
        names = given.get(key, [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise document.mistake(("collect", key), f"must be a list of names of {key}")
        named[key] = tuple(names)
    return Collect(table, named["metrics"], named["tables"])


def _known_keys(document: Located, key: Key, known: tuple[str, ...]) -> None:
    for name in _mapping(document, key) if key else document.data:
        if name not in known:
            raise document.mistake((*key, name), f"unknown key; known are {', '.join(known)}")


def _mapping(document: Located, key: Key) -> dict[str, Any]:
    found = _part(document, key)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise document.mistake(key, "must be a mapping")
    return found


def _sequence(document: Located, key: Key) -> list[Any]:
    found = _part(document, key)
    if found is None:
        return []
    if not isinstance(found, list):
        raise document.mistake(key, "must be a list")
    return found


def _part(document: Located, key: Key) -> Any:
    found = document.data
    for step in key:
        found = found[step] if isinstance(step, int) else found.get(step)
        if found is None:
            return None
    return found
