"""Hugging Face models: another activation, Swi+FT while they train, sparse decoding.

Needs the extra `hf`: `pip install 'stocha[hf]'`. Chapter *Use it on your own model*.
"""

import importlib
import importlib.util
from typing import Any

if importlib.util.find_spec("transformers") is None:
    raise ImportError("stocha.hf needs transformers: pip install 'stocha[hf]'")

# found when asked for: what trains does not depend on what decodes, nor does its identity
_PLACES = {
    "SwiFT": "swi_ft",
    "at_step": "swi_ft",
    "register": "exchange",
    "sparse": "decoding",
    "use": "exchange",
}
__all__ = [*_PLACES]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
