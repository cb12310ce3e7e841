"""YAML with the line of every key, so that a mistake can be named where it stands."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from stocha.base.errors import UserError

Key = tuple[str | int, ...]


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
        dotted = ".".join(map(str, key))
        where = f"{self.path}:{self.lines.get(known, 1)}"
        return UserError(f"{where}: {dotted}: {message}" if dotted else f"{where}: {message}")


def read_located(path: Path) -> Located:
    """Read the YAML file at `path`.

    Raises:
        UserError: the file is missing, is not YAML, or has a key twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise UserError(f"cannot read {path}: {reason}") from None
    lines: dict[Key, int] = {}
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = None if node is None else _construct(node, (), lines, path)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"{path}:{line}: {error.problem}") from None
    return Located(path, data, lines)


def _construct(node: yaml.Node, key: Key, lines: dict[Key, int], path: Path) -> Any:
    lines.setdefault(key, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        found: dict[str, Any] = {}
        for name_node, value_node in node.value:
            name = str(name_node.value)
            line = name_node.start_mark.line + 1
            if name in found:
                raise UserError(f"{path}:{line}: {name}: stands here a second time")
            lines[(*key, name)] = line
            found[name] = _construct(value_node, (*key, name), lines, path)
        return found
    if isinstance(node, yaml.SequenceNode):
        return [
            _construct(item, (*key, number), lines, path) for number, item in enumerate(node.value)
        ]
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node)
    finally:
        loader.dispose()
