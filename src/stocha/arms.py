"""Which activation is in force at which step, and what to call that: phases and arms.

A phase is an activation with its options. An arm says which phase is in force at step t of a run, a
pure function of (t, total) with steps counted from 0 to total − 1, and has a name that `Arm.parse`
reads back:

    silu                          one activation throughout
    stocha(0.7)                   its p first, then other options: stocha(0.7,positive=mixed)
    expected(0.7)                 StochA's expectation, in training and in evaluation
    stocha(0.7)+ft(0.1)           Swi+FT: ReLU for the last tenth of the steps
    relu+silu(0.1)                the same with another activation at the end
    anneal                        p from 1 to 0; anneal(shape=cosine,start=0.8,end=0.2)
    alternate(4,silu,relu)        in turn, four steps each

A name is silent about options that have their default (`stocha.activations.defaults`).
Chapter *Gradual or sudden*.
"""

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import chain
from typing import Any, ClassVar, TypeVar

from stocha.activations import LABELS, Activation, Learnt, defaults, make, names, shapes

SHAPES = ("linear", "cosine")
SCHEDULES = ("constant", "swi_ft", "anneal")
PARAMETERS = ("activation", "schedule", "after", "alpha", "p", "positive", "granularity", "draw")
"""What `planned` takes: the parameters by which pages and sweeps spell an arm."""

Value = float | int | str
V = TypeVar("V", bound=Value)
_EXPECTED = {"train": "expectation", "test": "expectation"}
_CALL = re.compile(r"(\w+)(?:\((.+)\))?")


@dataclass(frozen=True)
class Phase:
    """An activation of the registry with its options; those not given take their defaults.

    Raises ValueError, listing what is allowed, for an unknown name, option or value.
    """

    activation: str
    options: tuple[tuple[str, Value], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", _resolved(self.activation, tuple(self.options)))

    @classmethod
    def of(cls, activation: str, **options: Value) -> "Phase":
        """Return the phase with these options."""
        return cls(activation, tuple(options.items()))

    def __getitem__(self, option: str) -> Value:
        return dict(self.options)[option]

    def make(
        self, runs: int | None = None, width: int | None = None, learnt: Learnt | None = None
    ) -> Activation:
        """Return a new module of it, in training mode; parameters as in `activations.make`."""
        options: dict[str, Any] = dict(self.options)
        return make(self.activation, runs=runs, width=width, learnt=learnt, **options)

    @property
    def learns(self) -> str:
        """Which parameters it learns: phases with the same can share them; "" for none."""
        shape = shapes(self.activation)
        if shape is None:
            return ""
        words = [self.activation, *(str(self[option]) for option in shape)]
        return "-".join(words).replace(".", "_")  # a torch.nn.ModuleDict's keys hold no point

    @property
    def expected(self) -> bool:
        """Whether it is StochA's expectation in training and in evaluation."""
        return self.activation == "stocha" and _EXPECTED.items() <= dict(self.options).items()

    @property
    def order(self) -> tuple[Any, ...]:
        """A key to sort phases by: the activation, then its options."""
        return (names().index(self.activation), *(value for _, value in self.options))

    def arguments(self, reading: dict[str, Value]) -> dict[str, Value]:
        """Return the options that a name states: `p`, and what differs from `reading`."""
        usual = defaults(self.activation) | reading | (_EXPECTED if self.expected else {})
        stated = {o: v for o, v in self.options if o != "p" and v != usual[o]}
        return ({"p": self["p"]} if self.activation == "stocha" else {}) | stated


@lru_cache(maxsize=1024)
def _resolved(
    activation: str, options: tuple[tuple[str, Value], ...]
) -> tuple[tuple[str, Value], ...]:
    usual = defaults(activation)
    stated: dict[str, Any] = dict(options)
    make(activation, width=1, **stated)
    given = {option: type(usual[option])(value) for option, value in stated.items()}
    return tuple(sorted((usual | given).items()))


RELU, SILU, STOCHA = Phase("relu"), Phase("silu"), Phase("stocha")


@dataclass(frozen=True)
class Arm(ABC):
    """Base of the arms below: values that can be compared, stored, named and read back."""

    kind: ClassVar[int]

    @abstractmethod
    def phase_at(self, t: int, total: int) -> Phase:
        """Return the phase of step `t` of `total`; ValueError unless 0 ≤ t < total."""

    @abstractmethod
    def named(self, **reading: Value) -> str:
        """Return the name with `reading`'s values in place of those defaults.

        `parse` takes the same reading: a table whose arms are all of one reading need not repeat
        it in every name.
        """

    @abstractmethod
    def labelled(self, **reading: Value) -> str:
        """Return the label, silent about options that have `reading`'s values, as `named`."""

    @property
    def name(self) -> str:
        """The name that `parse` reads back."""
        return self.named()

    @property
    def label(self) -> str:
        """The name in words: `StochA(0.5) + Swi+FT(0.1)`."""
        return self.labelled()

    def _parts(self) -> Iterator[Any]:
        """Every field's value, those of a tuple one by one."""
        for field in fields(self):
            value = getattr(self, field.name)
            yield from value if isinstance(value, tuple) else (value,)

    @property
    def begins(self) -> Phase:
        """The phase that it begins with."""
        return next(part for part in self._parts() if isinstance(part, Phase))

    @property
    def look(self) -> str:
        """The key of its colour in `figures`: what it begins with."""
        return "expected" if self.begins.expected else self.begins.activation

    @property
    def order(self) -> tuple[Any, ...]:
        """A key to sort arms by: the activation it begins with, then how it goes on."""
        parts = [part.order if isinstance(part, Phase) else (part,) for part in self._parts()]
        return (self.begins.order[0], self.kind, len(parts), *chain.from_iterable(parts))

    def activation_at(self, t: int, total: int) -> Activation:
        """Return a new module of what is in force at step `t` of `total`, in training mode."""
        return self.phase_at(t, total).make()

    def phases(self, total: int) -> Iterator[tuple[int, int, Phase]]:
        """Yield (first step, steps, phase) of every stretch with one phase, in order."""
        start, current = 0, self.phase_at(0, total)
        for t in range(1, total):
            if (phase := self.phase_at(t, total)) != current:
                yield start, t - start, current
                start, current = t, phase
        yield start, total - start, current

    def prefix(self, steps: int, total: int) -> list[Any]:
        """Return what identifies the activations of the first `steps` steps, JSON-able."""
        return [
            [min(count, steps - start), phase.activation, dict(phase.options)]
            for start, count, phase in self.phases(total)
            if start < steps
        ]

    @staticmethod
    def parse(name: str, **reading: Value) -> "Arm":
        """Return the arm of a name.

        Parameters: `reading`, options of StochA's that the name is silent about, where they are
        not the defaults: the tables of the first campaign say `stocha(0.5)` for positive="mixed".
        Raises ValueError, one line, for what is no arm's name.
        """
        try:
            return _parsed(name, reading)
        except ValueError as error:
            raise ValueError(f"arm={name!r}: {error}") from None


@dataclass(frozen=True)
class Constant(Arm):
    """One phase throughout."""

    phase: Phase
    kind = 0

    def phase_at(self, t: int, total: int) -> Phase:
        _check_step(t, total)
        return self.phase

    def named(self, **reading: Value) -> str:
        return _call(self.phase, reading)

    def labelled(self, **reading: Value) -> str:
        return _label(self.phase, reading)


@dataclass(frozen=True)
class SwiFT(Arm):
    """Swi+FT(α): `before` for the first 1 − α of all steps, `after` for the rest.

    Parameters: `alpha` in [0, 1]: 0 never switches, 1 is `after` from the first step; the step is
    `switch_step`. Definition in `sources`; claims L3 to L5. Raises ValueError for another
    alpha, and for a run so short that a phase gets no step.
    """

    alpha: float
    before: Phase = SILU
    after: Phase = RELU
    kind = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "alpha", _unit("alpha", self.alpha))

    def phase_at(self, t: int, total: int) -> Phase:
        _check_step(t, total)
        step = switch_step(self.alpha, total)
        if step in (0, total) and 0 < self.alpha < 1:
            least = 0.5 / total
            raise ValueError(
                f"alpha={self.alpha:g}: leaves none of {total} steps on one side of the switch; "
                f"allowed: 0, 1, or from {least:g} to {1 - least:g}"
            )
        return self.before if t < step else self.after

    def named(self, **reading: Value) -> str:
        begins, alpha = _call(self.before, reading), _text(self.alpha)
        if self.after == RELU:
            return f"{begins}+ft({alpha})"
        return f"{begins}+{_call(self.after, reading, alpha)}"

    def labelled(self, **reading: Value) -> str:
        begins = _label(self.before, reading)
        if self.after != RELU:
            return f"{begins} → {_label(self.after, reading)}({_text(self.alpha)})"
        ending = f"Swi+FT({_text(self.alpha)})"
        return ending if self.before == SILU else f"{begins} + {ending}"


@dataclass(frozen=True)
class Anneal(Arm):
    """StochA whose p goes from `start` at the first step to `end` at the last.

    Parameters: `shape`, "linear" or "cosine" (slow at both ends, mean p the same); `phase`, StochA
    with its other options. A run of one step has `end`. Raises ValueError for another shape or
    activation, or an end outside [0, 1].
    """

    shape: str = "linear"
    start: float = 1.0
    end: float = 0.0
    phase: Phase = STOCHA
    kind = 2

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise ValueError(f"shape={self.shape!r}: allowed: {', '.join(SHAPES)}")
        if self.phase.activation != "stocha":
            raise ValueError(f"activation={self.phase.activation!r}: allowed: stocha")
        object.__setattr__(self, "start", _unit("start", self.start))
        object.__setattr__(self, "end", _unit("end", self.end))
        object.__setattr__(self, "phase", self._with(self.start))

    def _with(self, p: float) -> Phase:
        return Phase("stocha", tuple((dict(self.phase.options) | {"p": p}).items()))

    @property
    def look(self) -> str:
        return "anneal"

    def phase_at(self, t: int, total: int) -> Phase:
        _check_step(t, total)
        done = t / (total - 1) if total > 1 else 1.0
        if self.shape == "cosine":
            done = (1 - math.cos(math.pi * done)) / 2
        # the weighted mean, unlike start + done·(end − start), meets both ends exactly
        return self._with((1 - done) * self.start + done * self.end)

    def named(self, **reading: Value) -> str:
        ends: dict[str, Value] = {"shape": self.shape, "start": self.start, "end": self.end}
        usual = {"shape": "linear", "start": 1.0, "end": 0.0}
        stated = {o: v for o, v in ends.items() if v != usual[o]}
        bare = defaults("stocha") | reading
        stated |= {o: v for o, v in self.phase.options if o != "p" and v != bare[o]}
        return _joined("anneal", [f"{option}={_text(value)}" for option, value in stated.items()])

    def labelled(self, **reading: Value) -> str:
        ends = (self.start, self.end)
        known = {1.0: "SiLU", 0.0: "ReLU"}
        first, last = (known.get(p, f"StochA({_text(p)})") for p in ends)
        more = ["cosine"] if self.shape == "cosine" else []
        bare = defaults("stocha") | reading
        more += [f"{o} {v}" for o, v in self.phase.options if o != "p" and v != bare[o]]
        return f"anneal {first} → {last}" + (f" ({', '.join(more)})" if more else "")


@dataclass(frozen=True)
class Alternate(Arm):
    """The phases of `turn`, each for `every` steps, over and over, as far as the run is long.

    Raises ValueError for an `every` below 1 or no phase.
    """

    every: int
    turn: tuple[Phase, ...] = (SILU, RELU)
    kind = 3

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"every={self.every}: allowed: a whole number >= 1")
        if not self.turn:
            raise ValueError("turn=(): allowed: at least one phase")

    def phase_at(self, t: int, total: int) -> Phase:
        _check_step(t, total)
        return self.turn[t // self.every % len(self.turn)]

    def named(self, **reading: Value) -> str:
        return _joined("alternate", [str(self.every), *(_call(p, reading) for p in self.turn)])

    def labelled(self, **reading: Value) -> str:
        steps = "step" if self.every == 1 else f"{self.every} steps"
        return f"{' ↔ '.join(_label(phase, reading) for phase in self.turn)}, every {steps}"


def planned(
    activation: str,
    schedule: str = "constant",
    after: str = "relu",
    alpha: float = 0.1,
    p: float = 0.5,
    positive: str = "identity",
    granularity: str = "element",
    draw: str = "sample",
) -> Arm:
    """Return the arm that the parameters of a page or a sweep's point spell.

    Parameters: `schedule`, "constant", "swi_ft" (to `after` for the last `alpha` of all steps) or
    "anneal" (p from 1 to 0); the others are StochA's options, `draw` both `train` and `test`;
    `granularity` is dropout's too.
    Raises ValueError for a value that is not allowed.
    """
    reading = (("p", p), ("positive", positive), ("granularity", granularity))
    drawn = Phase("stocha", (*reading, ("train", draw), ("test", draw)))
    dropped = Phase.of("dropout", granularity=granularity)
    known = {"stocha": drawn, "dropout": dropped}
    first, last = (known.get(name) or Phase(name) for name in (activation, after))
    match schedule:
        case "constant":
            return Constant(first)
        case "swi_ft":
            return SwiFT(alpha, first, last)
        case "anneal":
            return Anneal(phase=drawn)
    raise ValueError(f"schedule={schedule!r}: allowed: {', '.join(SCHEDULES)}")


def switch_step(alpha: float, total: int) -> int:
    """Return the first step after the switch of Swi+FT(`alpha`) in a run of `total` steps.

    The steps after the switch are round(alpha·total), a half rounded up, so that a tie gives the
    fine-tuning the step; the result is in [0, total] and is `total` where there is no switch.
    """
    _unit("alpha", alpha)
    if total < 1:
        raise ValueError(f"total={total}: allowed: a whole number >= 1")
    # 0.29·50 is 14.499999999999998 in binary: rounding to 9 digits first makes it the half it is
    return total - math.floor(round(alpha * total, 9) + 0.5)


# Names: written


def _text(value: Value) -> str:
    """A value that reads back as itself, a float as short as it can be."""
    if not isinstance(value, float):
        return str(value)
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def _joined(word: str, arguments: Sequence[str]) -> str:
    return f"{word}({','.join(arguments)})" if arguments else word


def _call(phase: Phase, reading: dict[str, Value], *first: str) -> str:
    """A phase's name, with `first` before its own arguments."""
    stated = phase.arguments(reading)
    words = [_text(v) if o == "p" else f"{o}={_text(v)}" for o, v in stated.items()]
    return _joined("expected" if phase.expected else phase.activation, [*first, *words])


def _label(phase: Phase, reading: dict[str, Value]) -> str:
    stated = phase.arguments(reading)
    words = [_text(v) if o == "p" else f"{o} {_text(v)}" for o, v in stated.items()]
    name = ("expected " if phase.expected else "") + LABELS[phase.activation]
    return f"{name}({', '.join(words)})" if words else name


# Names: read


def _parsed(name: str, reading: dict[str, Value]) -> Arm:
    begins, *ends = _split(name, "+")
    word, arguments = _taken(begins)
    if len(ends) > 1 or (ends and word in ("anneal", "alternate")):
        raise ValueError("allowed: one switch, between two activations")
    if word == "anneal":
        given = {"start": "1", "end": "0"} | dict(_option(argument) for argument in arguments)
        if "p" in given:
            raise ValueError(f"p={given['p']}: allowed: start and end")
        shape, *ends = given.pop("shape", "linear"), given.pop("start"), given.pop("end")
        start, end = (_read("start and end", text, float) for text in ends)
        return Anneal(shape, start, end, _phase("stocha", given, reading))
    if word == "alternate":
        every, *turn = arguments or [""]
        phases = tuple(_named(phase, reading) for phase in turn)
        return Alternate(_read("every", every, int), phases)
    before = _named(begins, reading)
    if not ends:
        return Constant(before)
    word, arguments = _taken(ends[0])
    share, *more = arguments or [""]
    alpha = _read("alpha", share, float)
    if word == "ft" and not more:
        return SwiFT(alpha, before)
    return SwiFT(alpha, before, _named(_joined(word, more), reading))


def _named(text: str, reading: dict[str, Value]) -> Phase:
    word, arguments = _taken(text)
    given: dict[str, str] = {}
    if arguments and "=" not in arguments[0] and word in ("stocha", "expected"):
        given["p"] = arguments.pop(0)
    for option, value in map(_option, arguments):
        if option in given:
            raise ValueError(f"{text!r}: {option} is given twice")
        given[option] = value
    if word == "expected":
        return _phase("stocha", _EXPECTED | given, reading)
    return _phase(word, given, reading)


def _phase(activation: str, given: dict[str, str], reading: dict[str, Value]) -> Phase:
    usual = defaults(activation)
    known = {o: v for o, v in reading.items() if o in usual}
    values = {o: _read(o, v, type(usual.get(o, ""))) for o, v in given.items()}
    return Phase(activation, tuple((known | values).items()))


def _taken(text: str) -> tuple[str, list[str]]:
    found = _CALL.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r}: allowed: a name, or name(argument,…)")
    return found[1], _split(found[2], ",") if found[2] else []


def _option(text: str) -> tuple[str, str]:
    option, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"{text!r}: allowed: option=value")
    return option, value


def _read(option: str, text: str, kind: Callable[[str], V]) -> V:
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{option}={text!r}: allowed: a number") from None


def _split(text: str, at: str) -> list[str]:
    """Split at a character that stands outside all parentheses."""
    parts, depth = [""], 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if character == at and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _unit(parameter: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError(f"{parameter}={value}: allowed: a number in [0, 1]")
    return float(value)


def _check_step(t: int, total: int) -> None:
    if total < 1:
        raise ValueError(f"total={total}: allowed: a whole number >= 1")
    if not 0 <= t < total:
        raise ValueError(f"t={t}: allowed: a step from 0 to total - 1 = {total - 1}")
