"""Hugging Face models: another activation, Swi+FT while they train, sparse decoding.

Needs the extra `hf`: `pip install 'stocha[hf]'`. Chapter *Use it on your own model*.
"""

import importlib.util

if importlib.util.find_spec("transformers") is None:
    raise ImportError("stocha.hf needs transformers: pip install 'stocha[hf]'")

from stocha.hf.decoding import sparse
from stocha.hf.exchange import register, use
from stocha.hf.swi_ft import SwiFT, at_step

__all__ = ["SwiFT", "at_step", "register", "sparse", "use"]
