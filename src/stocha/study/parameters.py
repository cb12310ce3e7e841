"""The parameters of a notebook: read from its source, typed and range-checked before a kernel
starts.

A notebook declares them in the cell tagged ``parameters``, one line each::

    epochs: int = None  # passes over the training data [1, inf)
    positive: str = "mixed"  # reading of x >= 0 {identity, silu, mixed}

The comment is the meaning; an interval or a set at its end is what is allowed, for a list what
every element may be. A default of None stands for what the scale sets: a literal dictionary in the
cell tagged ``scales`` gives each scale's value. (The type is what a user may give; papermill, which
reads the same cell, does not know a parameter declared `int | None`.) Papermill only warns of
unknown names and checks no values.
"""

import ast
import difflib
import io
import math
import re
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stocha.base.errors import UserError

Scalar = bool | int | float | str
Value = Scalar | list[Scalar] | None

_SCALARS: dict[str, type[Scalar]] = {"bool": bool, "int": int, "float": float, "str": str}
_INTERVAL = re.compile(r"([\[(])\s*([^\s,\[\]()]+)\s*,\s*([^\s,\[\]()]+)\s*([\])])$")
_CHOICES = re.compile(r"\{([^{}]*)\}$")


@dataclass(frozen=True)
class Interval:
    """The numbers a parameter may take."""

    low: float
    high: float
    low_open: bool
    high_open: bool

    def __contains__(self, value: Scalar) -> bool:
        if isinstance(value, str):
            return False
        above = value > self.low if self.low_open else value >= self.low
        below = value < self.high if self.high_open else value <= self.high
        return above and below

    def __str__(self) -> str:
        left, right = "[("[self.low_open], "])"[self.high_open]
        return f"in {left}{self.low:g}, {self.high:g}{right}"


@dataclass(frozen=True)
class Choices:
    """The words a parameter may take."""

    words: tuple[str, ...]

    def __contains__(self, value: Scalar) -> bool:
        return value in self.words

    def __str__(self) -> str:
        return "one of " + ", ".join(self.words)


@dataclass(frozen=True)
class Parameter:
    """One declared parameter of a notebook."""

    name: str
    kind: str
    """The scalar's type name: bool, int, float or str."""
    is_list: bool
    optional: bool
    """None is allowed."""
    default: Value
    meaning: str
    allowed: Interval | Choices | None

    @property
    def type(self) -> str:
        """The declared type as written: `list[int] | None`."""
        inner = f"list[{self.kind}]" if self.is_list else self.kind
        return f"{inner} | None" if self.optional else inner

    @property
    def requirement(self) -> str:
        """What a value must be, in words, for an error line."""
        if isinstance(self.allowed, Choices):
            element = str(self.allowed)
        else:
            article = "an" if self.kind == "int" else "a"
            element = " ".join(filter(None, (article, self.kind, str(self.allowed or ""))))
        return f"a non-empty list, each {element}" if self.is_list else element

    def parse(self, text: str) -> Value:
        """The value that `text`, typed on a command line, means; UserError if it is not allowed."""
        stripped = text.strip()
        if self.optional and stripped.lower() in {"none", "null"}:
            return None
        if not self.is_list:
            return self.check(_parse_scalar(stripped, self.kind), shown=text)
        if stripped.startswith("[") and stripped.endswith("]"):
            stripped = stripped[1:-1]
        items = [item.strip() for item in stripped.split(",")] if stripped.strip() else []
        return self.check([_parse_scalar(item, self.kind) for item in items], shown=text)

    def read(self, value: Any) -> Value:
        """The value that a YAML file means; YAML 1.1 reads `1e-4` as text, so text is parsed."""
        if isinstance(value, str) and (self.is_list or self.kind != "str"):
            return self.parse(value)
        if self.is_list and isinstance(value, list):
            value = [
                _parse_scalar(item, self.kind) if isinstance(item, str) else item for item in value
            ]
        return self.check(value)

    def check(self, value: Any, shown: str | None = None) -> Value:
        """`value`, an int made float where a float is declared; UserError if it is not allowed."""
        if value is None and self.optional:
            return None
        elements = value if self.is_list and isinstance(value, list | tuple) else [value]
        checked = [self._check_scalar(element) for element in elements]
        if self.is_list != isinstance(value, list | tuple) or not checked or None in checked:
            written = shown if shown is not None else repr(value)
            raise UserError(f"parameter {self.name}={written}: must be {self.requirement}")
        if self.is_list:
            return [element for element in checked if element is not None]
        return checked[0]

    def _check_scalar(self, value: Any) -> Scalar | None:
        """`value` in the declared kind; None where it is of another kind or not allowed."""
        if self.kind == "float" and type(value) is int:
            value = float(value)
        if type(value) is not _SCALARS[self.kind]:
            return None
        scalar: Scalar = value
        if self.allowed is not None:
            return scalar if scalar in self.allowed else None
        return None if isinstance(scalar, float) and not math.isfinite(scalar) else scalar


@dataclass(frozen=True)
class Declaration:
    """All parameters of a notebook and what each scale sets."""

    parameters: tuple[Parameter, ...]
    scales: Mapping[str, Mapping[str, Value]]

    def __getitem__(self, name: str) -> Parameter:
        for parameter in self.parameters:
            if parameter.name == name:
                return parameter
        names = [parameter.name for parameter in self.parameters]
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]!r}?" if close else "it has " + ", ".join(names)
        raise UserError(f"unknown parameter {name!r}: {hint}")

    def resolve(self, given: Mapping[str, Any]) -> dict[str, Value]:
        """Every parameter's value: the one given, else the default, else (None) what the scale
        sets.

        Args:
            given: values by name, already typed (`Parameter.parse` types command-line text).

        Raises:
            UserError: an unknown name or a value that is not allowed.
        """
        values = {parameter.name: parameter.default for parameter in self.parameters}
        values |= {name: self[name].check(value) for name, value in given.items()}
        at_scale = self.scales.get(str(values.get("scale")), {})
        for name, value in at_scale.items():
            if values[name] is None:
                values[name] = value
        return values


def read_declaration(parameters_source: str, scales_source: str | None) -> Declaration:
    """Read the source of the cells tagged ``parameters`` and ``scales``.

    Raises:
        UserError: a line that is not `name: type = literal  # meaning`, or a default or a scale's
            value that its own declaration does not allow.
    """
    statements = ast.parse(parameters_source).body
    comments = _comments_by_line(parameters_source)
    parameters = []
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
    declaration = Declaration(tuple(parameters), {})
    if scales_source is not None:
        declaration = Declaration(tuple(parameters), _read_scales(scales_source, declaration))
    for parameter in parameters:
        by_scale = [parameter.name in row for row in declaration.scales.values()]
        if parameter.default is not None or not (by_scale and all(by_scale)):
            parameter.check(parameter.default)
    return declaration


def _read_parameter(name: str, statement: ast.AnnAssign, comment: str) -> Parameter:
    assert statement.value is not None
    kind, is_list, optional = _read_type(name, statement.annotation)
    try:
        default = ast.literal_eval(statement.value)
    except ValueError:
        raise UserError(f"parameters cell, {name}: the default must be a literal") from None
    if kind == "float" and type(default) is int:
        default = float(default)
    allowed, meaning = _read_allowed(comment)
    return Parameter(name, kind, is_list, optional, default, meaning, allowed)


def _read_type(name: str, annotation: ast.expr) -> tuple[str, bool, bool]:
    text = ast.unparse(annotation)
    bare = text.removesuffix(" | None")
    optional = bare != text
    is_list = bare.startswith("list[") and bare.endswith("]")
    kind = bare[5:-1] if is_list else bare
    if kind not in _SCALARS:
        raise UserError(
            f"parameters cell, {name}: type {text!r} must be bool, int, float, str, a list of one "
            "of these, or either `| None`"
        )
    return kind, is_list, optional


def _read_allowed(comment: str) -> tuple[Interval | Choices | None, str]:
    """What is allowed, and the comment without it."""
    interval = _INTERVAL.search(comment)
    if interval:
        left, low, high, right = interval.groups()
        allowed: Interval | Choices = Interval(float(low), float(high), left == "(", right == ")")
        return allowed, comment[: interval.start()].strip()
    choices = _CHOICES.search(comment)
    if choices:
        words = tuple(word.strip() for word in choices[1].split(","))
        return Choices(words), comment[: choices.start()].strip()
    return None, comment.strip()


def _comments_by_line(source: str) -> dict[int, str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {
        token.start[0]: token.string.lstrip("# ").rstrip()
        for token in tokens
        if token.type == tokenize.COMMENT
    }


def _read_scales(source: str, declaration: Declaration) -> dict[str, dict[str, Value]]:
    statement = ast.parse(source).body[0]
    try:
        if not isinstance(statement, ast.Assign):
            raise ValueError
        scales: dict[str, dict[str, Any]] = ast.literal_eval(statement.value)
    except ValueError:
        raise UserError("scales cell: must read `scales = {literal dictionary}`") from None
    return {
        scale: {name: declaration[name].check(value) for name, value in row.items()}
        for scale, row in scales.items()
    }


def _parse_scalar(text: str, kind: str) -> Scalar | None:
    """The scalar `text` means, or None where it is not of that kind."""
    if kind == "str":
        quoted = len(text) >= 2 and text[0] == text[-1] and text[0] in "'\""
        return text[1:-1] if quoted else text
    if kind == "bool":
        return {"true": True, "false": False}.get(text.lower())
    try:
        return int(text) if kind == "int" else float(text)
    except ValueError:
        return None
