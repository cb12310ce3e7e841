"""Which versions of the code are known to give the same numbers.

`results/lineage.yml` lists pairs of versions whose tables and metrics of one notebook, executed at
smoke scale on one machine, agreed to the last byte. `stocha lineage` makes the comparison and, only
where they agree, the entry. What differs between two executions of one version is a timing and is
left out; the entry names it.
"""

import datetime
import functools
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from stocha.base import identity, machine
from stocha.base.errors import UserError
from stocha.base.files import read_json, write_text
from stocha.base.paths import project_root, results_root
from stocha.study.comparison import difference, values
from stocha.study.notebooks import Notebook, python_text, read_notebook

_STOCHA = "from stocha.cli import main; main()"
_TIMING = re.compile(r"second|speed|time|_ms\b|per_s|gb|gflop|roof|ratio|overhead|memory")


def lineage_file() -> Path:
    """Where the entries are."""
    return results_root() / "lineage.yml"


def relatives(stem: str, science: str) -> dict[str, tuple[str, ...]]:
    """Hashes of code that gives the notebook `stem` the numbers that `science` gives it, itself
    included, each with the experiments that its code is that of."""
    found: dict[str, tuple[str, ...]] = {science: ()}
    pairs = [entry for entry in read_lineage() if entry["notebook"] == stem]
    while True:
        before = len(found)
        for entry in pairs:
            for near, far in (("before", "after"), ("after", "before")):
                if entry[near]["science"] in found:
                    found.setdefault(entry[far]["science"], tuple(entry[far]["experiments"]))
        if len(found) == before:
            return found


def read_lineage() -> list[dict[str, Any]]:
    """The entries; UserError where the file is damaged."""
    path = lineage_file()
    if not path.is_file():
        return []
    return _parse(path, path.stat().st_mtime_ns)


@functools.cache
def _parse(path: Path, _: int) -> list[dict[str, Any]]:
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8")) or []
        for entry in entries:
            assert isinstance(entry["notebook"], str)
            for side in (entry["before"], entry["after"]):
                assert re.fullmatch("[0-9a-f]{64}", side["science"])
                assert all(isinstance(name, str) for name in side["experiments"])
    except (OSError, ValueError, LookupError, TypeError, AssertionError, yaml.YAMLError):
        raise UserError(f"{path}: damaged: allowed: what stocha lineage wrote") from None
    found: list[dict[str, Any]] = entries
    return found


def extend(
    commit: Annotated[str, typer.Argument(help="The version to compare with.")],
    notebook: Annotated[Path, typer.Argument(help="Executed at smoke scale by both versions.")],
    parameter: Annotated[
        list[str] | None, typer.Option("--parameter", "-p", metavar="NAME=VALUE", help="For both.")
    ] = None,
) -> int:
    """Note that COMMIT's code and today's give the same numbers, if they do to the last byte.

    Each version has a run store, a cache and compiled kernels of its own. Exit code 1, and a line
    for each difference, where they do not agree.
    """
    page, given = read_notebook(notebook), parameter or []
    page.parse(given)
    differing = _compare(commit, page, given)
    for line in differing:
        print(line)
    return int(bool(differing))


def _compare(commit: str, notebook: Notebook, assignments: Sequence[str]) -> list[str]:
    root = project_root()
    old = _git(root, "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}")
    now = machine.commit()
    if now["dirty"]:
        raise UserError("the working tree has changes: commit them, an entry names both commits")
    with tempfile.TemporaryDirectory(prefix="stocha-lineage-") as folder:
        tree = Path(folder, "tree")
        _git(root, "worktree", "add", "--detach", str(tree), old)
        try:
            before = _execute(tree, notebook.source, assignments, Path(folder, "before"))
            was = _side(tree, notebook.source, before, old)
        finally:
            _git(root, "worktree", "remove", "--force", str(tree))
        after = _execute(root, notebook.source, assignments, Path(folder, "after"))
        again = _execute(root, notebook.source, assignments, Path(folder, "again"))
        side = _side(root, notebook.source, after, str(now["commit"]))
        first, second, third = map(values, (before, after, again))
    timings = {key for key, value in second.items() if third.get(key) != value}
    unstable = {key for key in timings if not (notebook.alone or _TIMING.search(key.lower()))}
    if unstable:
        return [f"{key}: differs between two executions of one code" for key in sorted(unstable)]
    # A parameter that one version does not know is at its default; what both know must agree.
    unknown = {key for key in first.keys() - second.keys() if key.startswith("parameters: ")}
    kept = first.keys() - timings - unknown
    differing = [
        f"{key}: {difference(first[key], second.get(key))}"
        for key in sorted(kept)
        if second.get(key) != first[key]
    ]
    if differing or not kept:
        return differing or ["nothing is left to compare"]
    entry = {
        "notebook": notebook.stem,
        "parameters": list(assignments),
        "before": was,
        "after": side,
        "compared": len(kept),
        "timings": sorted(timings & first.keys()),
        "cpu": machine.cpu_model(),
        "date": datetime.date.today().isoformat(),
    }
    write_text(lineage_file(), yaml.safe_dump([*read_lineage(), entry], sort_keys=False, width=100))
    return []


def _execute(root: Path, source: str, assignments: Sequence[str], place: Path) -> Path:
    """The run's folder after `stocha run` of the tree at `root`, everything of it in `place`."""
    environment = os.environ | {
        "PYTHONPATH": str(root / "src"),
        "STOCHA_RUNS": str(place / "runs"),
        "STOCHA_CACHE": str(place / "cache"),
        "NUMBA_CACHE_DIR": str(place / "numba"),
    }
    given = [word for text in ("scale=smoke", *assignments) for word in ("-p", text)]
    command = [sys.executable, "-c", _STOCHA, "run", source, *given, "--threads", "1"]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise UserError(f"{root / source}: not executed: {' '.join(done.stderr.split())[-600:]}")
    return Path(done.stdout.strip())


def _side(root: Path, source: str, run: Path, commit: str) -> dict[str, Any]:
    """The code of the tree at `root` that the numbers of an executed notebook came from."""
    package = root / "src" / identity.PACKAGE.name
    used = (read_json(run / "provenance.json") or {}).get("results") or []
    experiments = sorted({result["experiment"] for result in used})
    if experiments:
        code = identity.code([name.rpartition(".")[0] for name in experiments], package)
    else:
        text = python_text((root / source).read_text(encoding="utf-8"))
        code = identity.code(identity.imports(text), package)
        code[Path(source).name] = identity.normalised(text)
    return {"commit": commit, "science": identity.combined(code), "experiments": experiments}


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True)
    if done.returncode != 0:
        why = " ".join(done.stderr.split()) or "no such commit"
        raise UserError(f"git {' '.join(arguments)}: {why}")
    return done.stdout.strip()
