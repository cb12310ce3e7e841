"""A parameter, declared once: what it is called, means, may be, and is at each scale.

An experiment declares its parameters as the fields of a frozen dataclass::

    @dataclass(frozen=True)
    class Config:
        epochs: int = parameter(100, "passes over the data", "[1, inf)", smoke=2, book=20)
        positive: str = parameter("mixed", "reading of x >= 0", "{identity, silu, mixed}")

        def __post_init__(self) -> None:
            check(self)

The default is the full scale's value. The cells of a page on the experiment, and the command
line's checks, come from there (`stocha.study.cells`).
"""

import dataclasses
import difflib
import functools
import math
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import EllipsisType
from typing import Any, TypeVar

from stocha.base.errors import UserError

Scalar = bool | int | float | str
Value = Scalar | list[Scalar] | None
T = TypeVar("T")

SCALES = ("smoke", "book", "full")
SCALARS: dict[str, type[Scalar]] = {"bool": bool, "int": int, "float": float, "str": str}
_INTERVAL = re.compile(r"([\[(])\s*([^\s,\[\]()]+)\s*,\s*([^\s,\[\]()]+)\s*([\])])$")
_CHOICES = re.compile(r"\{([^{}]*)\}$")
_COMMA = re.compile(r",(?![^()]*\))")  # none within the parentheses of an arm's options
_DECLARED = "stocha.parameter"


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
        low, high = (int(end) if end.is_integer() else end for end in (self.low, self.high))
        return f"in {left}{low}, {high}{right}"


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
    """One declared parameter."""

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
        if not self.is_list:
            return element
        return f"a {'' if self.default == [] else 'non-empty '}list, each {element}"

    def parse(self, text: str) -> Value:
        """The value that `text`, typed on a command line, means; UserError if it is not allowed."""
        stripped = text.strip()
        if self.optional and stripped.lower() in {"none", "null"}:
            return None
        if not self.is_list:
            return self.check(_parse_scalar(stripped, self.kind), shown=text)
        if stripped.startswith("[") and stripped.endswith("]"):
            stripped = stripped[1:-1]
        items = [item.strip() for item in _COMMA.split(stripped)] if stripped.strip() else []
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
        several = isinstance(value, list | tuple)
        checked = [self._check_scalar(one) for one in (value if several else [value])]
        empty = not checked and self.default != []
        if self.is_list != several or empty or None in checked:
            written = shown if shown is not None and shown.isprintable() else repr(value)
            raise UserError(f"{self.name}={written}: allowed: {self.requirement}")
        if self.is_list:
            return [element for element in checked if element is not None]
        return checked[0]

    def _check_scalar(self, value: Any) -> Scalar | None:
        """`value` in the declared kind; None where it is of another kind or not allowed."""
        if self.kind == "float" and type(value) is int:
            value = float(value) if abs(value) < 2**1023 else math.inf
        if type(value) is not SCALARS[self.kind]:
            return None
        if type(value) is int and not -(2**63) <= value < 2**63:
            # tables hold no larger ones, which would be found when the work is done
            raise UserError(f"{self.name}: allowed: an int of at most 64 bits")
        scalar: Scalar = value
        if self.allowed is not None:
            return scalar if scalar in self.allowed else None
        return None if isinstance(scalar, float) and not math.isfinite(scalar) else scalar


@dataclass(frozen=True)
class Declaration:
    """All parameters of a page and what each scale sets."""

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


def parameter(
    default: T,
    meaning: str,
    allowed: str = "",
    *,
    smoke: T | EllipsisType = ...,
    book: T | EllipsisType = ...,
) -> T:
    """Declare a field of an experiment's frozen dataclass, of type bool, int, float, str, a tuple
    of one of these, or either `| None`.

    Args:
        default: the value at the full scale.
        meaning: a few words, with the unit, as the page's cell and the command line show them.
        allowed: an interval "[1, inf)" or a set "{relu, silu}"; of a tuple, what each element may
            be.
        smoke, book: what these scales set where they differ from the full one.
    """
    limits, rest = read_allowed(allowed)
    assert not rest, f"{allowed!r}: neither an interval nor a set"
    scaled = {"smoke": smoke, "book": book}
    by_scale = {scale: value for scale, value in scaled.items() if value is not ...}
    metadata = {_DECLARED: (meaning, limits, by_scale)}
    return dataclasses.field(default=default, metadata=metadata)


def check(config: Any) -> None:
    """Refuse what a configuration's fields do not allow; for its `__post_init__`.

    A list becomes a tuple and an int a float where the field is one: equal configurations are
    equal.

    Raises:
        ValueError: `name=value: allowed: …`, one line.
    """
    shape: Any = type(config)
    for declared in _declared(shape):
        value = declared.check(getattr(config, declared.name))
        plain = tuple(value) if isinstance(value, list) else value
        object.__setattr__(config, declared.name, plain)


@functools.cache
def declaration(config: Any) -> Declaration:
    """What a page on the experiment whose configuration is `config` declares: `scale` and every
    field, those that depend on the scale left to it."""
    own = _declared(config)
    scaled = {
        field.name: field.metadata[_DECLARED][2]
        for field in dataclasses.fields(config)
        if field.metadata[_DECLARED][2]
    }
    scales = {
        scale: {
            one.name: one.check(scaled[one.name].get(scale, one.default))
            for one in own
            if one.name in scaled
        }
        for scale in SCALES
    }
    scale = Parameter("scale", "str", False, False, "book", "how much to run", Choices(SCALES))
    left = (replace(one, optional=True, default=None) if one.name in scaled else one for one in own)
    return Declaration((scale, *left), scales)


def at_scale(config: Callable[..., T], scale: str, **given: Any) -> T:
    """The configuration at a scale, e.g. `at_scale(Config, "smoke", seed=3)`."""
    values = declaration(config).resolve({"scale": scale, **given})
    del values["scale"]
    return config(**values)


@functools.cache
def _declared(config: Any) -> tuple[Parameter, ...]:
    """The fields of a configuration, with the full scale's values as defaults."""
    hints = typing.get_type_hints(config)
    declared = []
    for field in dataclasses.fields(config):
        assert _DECLARED in field.metadata, f"{config.__name__}.{field.name}: use parameter(...)"
        meaning, allowed, _ = field.metadata[_DECLARED]
        kind = hints[field.name]
        bare = [one for one in typing.get_args(kind) if one is not types.NoneType]
        optional = isinstance(kind, types.UnionType)
        if optional:
            kind = bare[0]
        is_list = typing.get_origin(kind) is tuple
        name = (typing.get_args(kind)[0] if is_list else kind).__name__
        assert name in SCALARS, f"{config.__name__}.{field.name}: no parameter's type"
        default: Any = field.default
        if isinstance(default, tuple):
            default = list(default)
        one = Parameter(field.name, name, is_list, optional, default, meaning, allowed)
        declared.append(replace(one, default=one.check(default)))
    return tuple(declared)


def read_allowed(comment: str) -> tuple[Interval | Choices | None, str]:
    """The interval or set at the end of `comment`, and the comment without it."""
    interval = _INTERVAL.search(comment)
    if interval:
        left, low, high, right = interval.groups()
        try:
            limits = float(low), float(high)
        except ValueError:
            raise UserError(f"{interval[0]}: allowed: an interval of numbers") from None
        return Interval(*limits, left == "(", right == ")"), comment[: interval.start()].strip()
    choices = _CHOICES.search(comment)
    if choices:
        words = tuple(word.strip() for word in choices[1].split(","))
        return Choices(words), comment[: choices.start()].strip()
    return None, comment.strip()


def _parse_scalar(text: str, kind: str) -> Scalar:
    """The scalar `text` means; `text` itself where it is not of that kind."""
    if kind == "str":
        quoted = len(text) >= 2 and text[0] == text[-1] and text[0] in "'\""
        return text[1:-1] if quoted else text
    if kind == "bool":
        return {"true": True, "false": False}.get(text.lower(), text)
    try:
        return int(text) if kind == "int" else float(text)
    except ValueError:
        return text
