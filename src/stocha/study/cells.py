"""A page's parameters as its notebook's cells tell them: read, and written from an experiment.

The cell tagged ``parameters`` has a line a parameter; a literal dictionary in the cell tagged
``scales`` gives what is left to the scale::

    epochs: "Optional[int]" = None  # passes over the data [1, inf)
    positive: str = "mixed"  # reading of x >= 0 {identity, silu, mixed}

An interval or a set at the comment's end is what is allowed, for a list what every element may be.
The type is quoted for papermill, which reads the same cell, only warns of unknown names, checks no
values, and does not know a parameter declared `int | None`.
"""

import ast
import importlib
import io
import json
import re
import tokenize
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from stocha.base.errors import UserError
from stocha.base.files import write_text
from stocha.base.parameters import (
    SCALARS,
    Choices,
    Declaration,
    Parameter,
    Value,
    declaration,
    read_allowed,
)

_WIDTH = 88


def read_declaration(parameters_source: str, scales_source: str | None) -> Declaration:
    """Read the source of the cells tagged ``parameters`` and ``scales``.

    Raises:
        UserError: a line that is not `name: type = literal  # meaning`, or a default or a scale's
            value that its own declaration does not allow.
    """
    statements = ast.parse(parameters_source).body
    comments = _comments_by_line(parameters_source)
    parameters: list[Parameter] = []
    for statement in statements:
        if not (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and statement.value is not None
        ):
            raise UserError(
                f"parameters cell, {ast.unparse(statement)!r}: "
                "a line must read `name: type = literal  # meaning`"
            )
        lines = range(statement.lineno, (statement.end_lineno or statement.lineno) + 1)
        comment = " ".join(comments[line] for line in lines if line in comments)
        parameters.append(_read_parameter(statement.target.id, statement, comment))
    names = [one.name for one in parameters]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"parameters cell, {name}: stands here a second time")
    declared = Declaration(tuple(parameters), {})
    if scales_source is not None:
        declared = replace(declared, scales=_read_scales(scales_source, declared))
    for one in parameters:
        one.check(one.default)
        missing = [scale for scale, row in declared.scales.items() if one.name not in row]
        if missing and len(missing) < len(declared.scales):
            raise UserError(f"scales cell: {one.name}: allowed: a value at every scale or at none")
    return declared


def _read_parameter(name: str, statement: ast.AnnAssign, comment: str) -> Parameter:
    assert statement.value is not None
    kind, is_list, optional = _read_type(name, statement.annotation)
    try:
        default = ast.literal_eval(statement.value)
    except (ValueError, TypeError):
        raise UserError(f"parameters cell, {name}: the default must be a literal") from None
    if kind == "float" and type(default) is int:
        default = float(default)
    allowed, meaning = read_allowed(comment)
    return Parameter(name, kind, is_list, optional, default, meaning, allowed)


def _read_type(name: str, annotation: ast.expr) -> tuple[str, bool, bool]:
    quoted = isinstance(annotation, ast.Constant)
    text = str(ast.literal_eval(annotation)) if quoted else ast.unparse(annotation)
    found = re.fullmatch(r"Optional\[(.*)\]", text) if quoted else None
    bare = found[1] if found else text
    optional = bare != text
    is_list = bare.startswith("list[") and bare.endswith("]")
    kind = bare[5:-1] if is_list else bare
    if kind not in SCALARS:
        raise UserError(
            f"parameters cell, {name}: type {text!r}: allowed: bool, int, float, str, a list of "
            'one of these, or "Optional[...]" of either, in quotes'
        )
    return kind, is_list, optional


def _comments_by_line(source: str) -> dict[int, str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {
        token.start[0]: token.string.removesuffix("# fmt: skip").strip("# ")
        for token in tokens
        if token.type == tokenize.COMMENT
    }


def _read_scales(source: str, declared: Declaration) -> dict[str, dict[str, Value]]:
    try:
        (statement,) = ast.parse(source).body
        if not isinstance(statement, ast.Assign):
            raise ValueError
        scales: dict[str, dict[str, Any]] = ast.literal_eval(statement.value)
        if not all(isinstance(row, dict) for row in scales.values()):
            raise ValueError
    except (ValueError, TypeError, AttributeError):
        raise UserError("scales cell: must read `scales = {literal dictionary}`") from None
    return {
        scale: {name: declared[name].check(value) for name, value in row.items()}
        for scale, row in scales.items()
    }


def write_cells(config: type) -> tuple[str, str]:
    """The sources of the cells `parameters` and `scales` of a page on the experiment."""
    declared = declaration(config)
    rows = [
        _filled(f'    "{scale}": {{', [f'"{name}": {_literal(own)}' for name, own in row.items()])
        + "},"
        for scale, row in declared.scales.items()
    ]
    lines = [_line(one) for one in declared.parameters]
    return "\n".join(lines), "\n".join(["scales = {", *rows, "}  # fmt: skip"])


def held_to_experiment(text: str) -> str:
    """The notebook `text` with its two cells as its experiment declares them; `text` itself where
    its header names no experiment.

    Raises:
        UserError: no such experiment, or a cell is missing.
    """
    import jupytext

    name = (jupytext.reads(text, fmt="py:percent").metadata.get("stocha") or {}).get("experiment")
    if name is None:
        return text
    try:
        config = importlib.import_module(name).Config
    except (ImportError, AttributeError) as error:
        raise UserError(f"experiment={name}: allowed: a module with a Config: {error}") from None
    for tag, source in zip(("parameters", "scales"), write_cells(config), strict=True):
        cell = f'# %% tags=["{tag}", "hide-input"]\n{source}\n\n'
        found = re.compile(rf'^# %% tags=\["{tag}".*\n(?:(?!# %%).*\n)*', re.MULTILINE)
        marks = list(found.finditer(text))
        if len(marks) != 1:
            raise UserError(f"{len(marks)} cells tagged `{tag}`: allowed: one")
        text = text[: marks[0].start()] + cell + text[marks[0].end() :]
    return text


def update_notebooks(
    notebooks: Annotated[list[Path], typer.Argument(help="Notebooks that name an experiment.")],
) -> list[Path]:
    """Write the parameter and scale cells of notebooks anew from their experiments."""
    changed = []
    for path in notebooks:
        if path.suffix != ".py":
            raise UserError(f"{path}: allowed: a text notebook (.py, percent format)")
        try:
            text = path.read_text(encoding="utf-8")
            held = held_to_experiment(text)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"{path}: {reason}") from None
        if held != text:
            write_text(path, held)
            changed.append(path)
    return changed


def _line(one: Parameter) -> str:
    inner = f"list[{one.kind}]" if one.is_list else one.kind
    kind = f'"Optional[{inner}]"' if one.optional else inner
    limits = ""
    if isinstance(one.allowed, Choices):
        limits = " {" + ", ".join(one.allowed.words) + "}"
    elif one.allowed:
        limits = str(one.allowed).removeprefix("in")
    begin, comment = f"{one.name}: {kind} = ", f"  # {one.meaning}{limits}"
    line = f"{begin}{_literal(one.default)}{comment}"
    if len(line) <= _WIDTH or not isinstance(one.default, list) or not one.default:
        return line
    return _filled(f"{begin}[", map(_literal, one.default)) + f"]{comment}  # fmt: skip"


def _filled(begin: str, items: Iterable[str]) -> str:
    """`begin` and the items, separated by commas, on as few lines as hold them."""
    lines = [begin]
    for item in items:
        comma = ", " if lines[-1] != begin else ""
        if len(lines[-1]) + len(comma) + len(item) + 2 > _WIDTH and lines[-1] != begin:
            lines[-1] += ","
            lines.append(" " * 8 + item)
        else:
            lines[-1] += comma + item
    return "\n".join(lines)


def _literal(value: Value) -> str:
    """`value` as ruff writes it: with double quotes."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return "[" + ", ".join(map(_literal, value)) + "]"
    return repr(value)
