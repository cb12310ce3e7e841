"""YAML with the line of every key, so that a mistake can be named where it stands."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from stocha.base.errors import UserError

Key = tuple[str | int, ...]
T = TypeVar("T")
_LENGTH, _PARTS, _DEPTH = 1_000_000, 100_000, 30
"""The most that is read: aliases of aliases would grow without end."""


@dataclass(frozen=True)
class Located:
    """A YAML document and where its parts stand."""

    path: Path
    data: Any
    lines: dict[Key, int] = field(repr=False)

    def mistake(self, key: Key, message: str) -> UserError:
        """The error `file:line: key: message` for the part at `key`, or its nearest parent."""
        known = key
        while known and known not in self.lines:
            known = known[:-1]
        dotted = _shown(".".join(map(str, key)))
        where = f"{self.path}:{self.lines.get(known, 1)}"
        return UserError(f"{where}: {dotted}: {message}" if dotted else f"{where}: {message}")

    def mapping(self, key: Key, known: tuple[str, ...] | None = None) -> dict[str, Any]:
        """The mapping at `key`, empty where there is none; UserError where something else is, or a
        key that is not `known`."""
        found = self._part(key, dict, "mapping")
        for name in found:
            if known is not None and name not in known:
                raise self.mistake((*key, name), f"unknown key; known are {', '.join(known)}")
        return found

    def sequence(self, key: Key) -> list[Any]:
        """The list at `key`, empty where there is none; UserError where something else is."""
        return self._part(key, list, "list")

    def _part(self, key: Key, kind: type[T], word: str) -> T:
        found = self.data
        for step in key:
            found = found[step] if isinstance(step, int) else found.get(step)
            if found is None:
                return kind()
        if not isinstance(found, kind):
            raise self.mistake(key, f"must be a {word}")
        return found


def read_located(path: Path) -> Located:
    """Read the YAML file at `path`.

    Raises:
        UserError: the file is missing, is not YAML, has a key twice, or is beyond all measure.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise UserError(f"cannot read {path}: {reason}") from None
    if len(text) > _LENGTH:
        raise UserError(f"{path}: {len(text)} characters: allowed: at most {_LENGTH}")
    reader = _Reader(path)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        found = None if node is None else reader.construct(node, ())
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"{path}:{line}: {_shown(str(error.problem))}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not YAML: {_shown(str(error).splitlines()[0])}") from None
    except RecursionError:
        raise UserError(f"{path}: nested deeper than {_DEPTH} levels") from None
    return Located(path, found, reader.lines)


class _Reader:
    """Makes values of nodes and notes their lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[Key, int] = {}
        self.parts = 0

    def construct(self, node: yaml.Node, key: Key) -> Any:
        line = node.start_mark.line + 1
        self.lines.setdefault(key, line)
        self.parts += 1
        if self.parts > _PARTS or len(key) > _DEPTH:
            limit = f"{_PARTS} parts, {_DEPTH} levels"
            raise UserError(f"{self.path}:{line}: too large or deep: allowed: {limit}")
        if isinstance(node, yaml.MappingNode):
            found: dict[str, Any] = {}
            for name_node, value_node in node.value:
                name, line = str(name_node.value), name_node.start_mark.line + 1
                if name in found:
                    where = f"{self.path}:{line}: {_shown(name)}"
                    raise UserError(f"{where}: stands here a second time")
                self.lines[(*key, name)] = line
                found[name] = self.construct(value_node, (*key, name))
            return found
        if isinstance(node, yaml.SequenceNode):
            return [self.construct(item, (*key, n)) for n, item in enumerate(node.value)]
        loader = yaml.SafeLoader("")
        try:
            return loader.construct_object(node)
        except (ValueError, OverflowError, LookupError, AttributeError):
            value = _shown(str(node.value))
            raise UserError(f"{self.path}:{line}: {value}: not a value of {node.tag}") from None
        finally:
            loader.dispose()


def _shown(text: str) -> str:
    """`text` on one line, not too long for one."""
    printable = text if text.isprintable() else repr(text)
    return printable if len(printable) <= 100 else f"{printable[:100]}…"
