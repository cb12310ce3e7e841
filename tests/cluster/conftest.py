"""A small sweep that Snakemake runs: in a folder of its own, with a run store of its own."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from stocha.study.sweeps.specification import read_sweep
from stocha.study.sweeps.state import STATUSES, read_state

HERE = Path(__file__).parent
SWEEPS = HERE.parents[1] / "sweeps"
BIN = Path(sys.executable).parent


@dataclass
class Place:
    """A folder with a sweep over p, where commands are run; its run store is `runs/` there."""

    folder: Path
    values: Sequence[float]
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.notebook = HERE / "50_point.py"
        self.sweep = self.folder / "sweep.yml"
        self.sweep.write_text(
            f"notebook: {self.notebook}\n"
            f"grid: {{p: {list(self.values)}}}\n"
            "collect: {table: final, metrics: [best]}\n"
        )

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let no point get to its end meanwhile."""
        hold = self.folder / "hold"
        hold.touch()
        try:
            yield
        finally:
            hold.unlink()

    def start(self, program: str, *arguments: object) -> subprocess.Popen[str]:
        """Start a program of this environment in a process group of its own."""
        own = {"STOCHA_RUNS": str(self.folder / "runs"), "TRACE": str(self.folder / "trace")}
        return subprocess.Popen(
            [str(BIN / program), *map(str, arguments)],
            cwd=self.folder,
            env={**os.environ, **own, **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def call(self, program: str, *arguments: object) -> tuple[int, str]:
        """Exit code and output of a program of this environment."""
        process = self.start(program, *arguments)
        output, _ = process.communicate(timeout=300)
        return process.returncode, output

    def snakemake(self, *arguments: object) -> list[object]:
        """The words of a call of Snakemake on the sweep."""
        config = ["--config", f"sweep={self.sweep}"]
        return ["snakemake", "-s", SWEEPS / "Snakefile", *arguments, *config]

    def counts(self) -> dict[str, int]:
        """How many points have each status, asked of the run store."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("STOCHA_RUNS", str(self.folder / "runs"))
            state = read_state(read_sweep(self.sweep))
        return {status: state.count(status) for status in STATUSES if status != "recorded"}

    def computed(self) -> Counter[float]:
        """How often each point has got to its end."""
        trace = self.folder / "trace"
        return Counter(map(float, trace.read_text().split())) if trace.exists() else Counter()

    def table(self) -> bytes:
        """What `stocha sweep collect` writes."""
        path = self.folder / "table.csv"
        code, output = self.call("stocha", "sweep", "collect", self.sweep, "--output", path)
        assert code == 0, output
        return path.read_bytes()


@pytest.fixture
def make_place(tmp_path: Path) -> Callable[..., Place]:
    """Make a folder with a sweep over `values`."""

    def make(name: str, values: Sequence[float], **environment: str) -> Place:
        folder = tmp_path / name
        folder.mkdir()
        return Place(folder, values, environment)

    return make
