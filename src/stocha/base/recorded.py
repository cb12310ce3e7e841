"""Recorded tables, read only as they were recorded: the provenance beside them has their hashes."""

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stocha.base.errors import UserError
from stocha.base.files import digest, read_json, write_json

if TYPE_CHECKING:
    import pandas as pd

PROVENANCE = "provenance.json"


def read_table(path: Path) -> "pd.DataFrame":
    """The recorded table in the CSV at `path`.

    Raises FileNotFoundError where nothing is recorded there, and UserError, which names the file,
    where it has not the bytes that were recorded.
    """
    import pandas as pd

    data = path.read_bytes()
    require_recorded(path, data)
    try:
        return pd.read_csv(io.BytesIO(data))
    except ValueError as error:  # pandas' own errors are ValueErrors
        raise UserError(f"{path}: not a table: {' '.join(str(error).split())}") from None


def require_recorded(path: Path, data: bytes) -> None:
    """UserError unless `data` are the bytes that the provenance beside `path` has a hash of.

    A folder without provenance was not recorded: nothing is known of its files.
    """
    about = read_provenance(path.parent)
    if about is None:
        return
    known = about["files"].get(path.name)
    if known != digest(data):
        what = "is not listed" if known is None else "has other bytes than listed"
        raise UserError(f"{path}: damaged or edited: it {what} in {PROVENANCE} beside it")


def read_provenance(folder: Path) -> dict[str, Any] | None:
    """The provenance of the tables in `folder`; None where there is none, UserError where it is
    damaged. Only its `note` may be edited."""
    path = folder / PROVENANCE
    if not path.is_file():
        return None
    about = read_json(path)
    if not (
        isinstance(about, dict)
        and isinstance(about.get("files"), dict)
        and about.get("checksum") == _checksum(about)
    ):
        raise UserError(f"{path}: damaged or edited: allowed: what `stocha` wrote, and a `note`")
    return about


def write_provenance(folder: Path, about: dict[str, Any]) -> None:
    """Write the provenance of the tables in `folder`, with a checksum of its own."""
    write_json(folder / PROVENANCE, about | {"checksum": _checksum(about)})


def _checksum(about: dict[str, Any]) -> str:
    kept = {name: value for name, value in about.items() if name not in ("note", "checksum")}
    return digest(json.dumps(kept, sort_keys=True).encode())
