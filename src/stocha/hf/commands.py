"""What `stocha model` does, with its progress shown."""

import time
from pathlib import Path
from typing import Any

import transformers
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from stocha.base.errors import UserError
from stocha.hf import recipe, smollm2

LINE_EVERY = 60.0
"""Seconds between two lines where the output is no terminal."""


def fetch(name: str) -> Path:
    """Convert the model of that name once and return its folder; UserError for another name."""
    if name != "smollm2":
        raise UserError(f"name={name}: allowed: smollm2")
    with Shown(Console(stderr=True), "") as shown:
        return smollm2.fetch(shown)


def finetune(model: str, text: Path, output: Path | None, **options: Any) -> Path:
    """`recipe.relufy` with progress; `output` defaults to a folder MODEL-relu here."""
    output = output or Path(f"{Path(model).name}-relu")
    with Shown(Console(stderr=True), "tokens") as shown:
        return recipe.relufy(model, text, output, progress=shown, **options)


class Shown:
    """A progress callback that draws a bar on a terminal, else writes a line now and then."""

    def __init__(self, console: Console, unit: str) -> None:
        self.console, self.unit = console, unit
        columns = ("{task.description}", BarColumn(), TextColumn("{task.fields[count]}"))
        self.bar = Progress(*columns, TimeRemainingColumn(), console=console, transient=True)
        self.task = self.bar.add_task("starting", count="")
        self.first: tuple[int, float] | None = None
        self.told = time.monotonic()

    def __enter__(self) -> "Shown":
        # one bar is enough
        transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        if self.console.is_terminal:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.console.is_terminal:
            self.bar.stop()

    def __call__(self, done: int, total: int, doing: str) -> None:
        now = time.monotonic()
        self.first = self.first or (done, now)
        left = f"{total - done:,} {self.unit} left".replace("  ", " ")
        self.bar.update(self.task, completed=done, total=total, description=doing, count=left)
        if not self.console.is_terminal and (now - self.told > LINE_EVERY or done == total):
            self.told = now
            pace = (done - self.first[0]) / max(now - self.first[1], 1e-9)
            if pace and done < total:
                left += f", about {(total - done) / pace / 60:.0f} min"
            self.console.print(f"{doing}: {left}", soft_wrap=True, highlight=False)
