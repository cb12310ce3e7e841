"""The page *Use it on your own model*: its code, pasted as it stands, works."""

import re
from pathlib import Path

from tests.hf.conftest import LICENCE
from transformers import AutoModelForCausalLM

from stocha.hf.exchange import current

PAGE = Path(__file__).parents[2] / "book" / "own_model.md"


def test_the_page_s_code_works_when_pasted(saved, tmp_path, monkeypatch, capsys):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 2
    code = "\n".join(blocks)
    shorter = {"max_steps=1000": "max_steps=10", "256": "32", "255": "31"}
    shorter |= {"HuggingFaceTB/SmolLM2-135M": str(saved)}  # last: a path may hold such numbers
    for text, other in shorter.items():
        assert text in code
        code = code.replace(text, other)
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text(LICENCE)
    exec(compile(code, PAGE.name, "exec"), {"__name__": "__main__"})
    assert "Return the sum of" in capsys.readouterr().out
    assert current(AutoModelForCausalLM.from_pretrained("relu/final")) == "relu"
