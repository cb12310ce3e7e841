"""Checkpoints are whole or absent, and one process at a time computes one of them."""

import re
import threading
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stocha.lm import checkpoint


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch) -> None:
    path = tmp_path / "a.pt"
    checkpoint.save(path, {"step": 1})

    def full(state, file) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(ValueError, match="No space left on device") as caught:
        checkpoint.save(path, {"step": 2})
    assert "\n" not in str(caught.value)
    assert checkpoint.load(path) == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="could not be written") as caught:
        checkpoint.save(tmp_path / "file" / "a.pt", {"step": 1})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", [0, 1, 100, -1])
def test_a_truncated_checkpoint_is_one_clear_line(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "a.pt"
    checkpoint.save(path, {"weights": torch.zeros(100)})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match="damaged or not a checkpoint") as caught:
        checkpoint.load(path)
    assert "\n" not in str(caught.value)


STATE = {"weights": torch.arange(500.0), "step": 3, "loss": [0.5, 0.25]}


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bit=st.integers(0, 2**40))
def test_one_flipped_bit_is_refused_or_changes_nothing(tmp_path: Path, bit: int) -> None:
    path = tmp_path / "a.pt"
    checkpoint.save(path, STATE)
    data = bytearray(path.read_bytes())
    bit %= 8 * len(data)
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)
    try:
        found = checkpoint.load(path)
    except ValueError as error:
        refusal = str(error)
    else:  # padding and dates of the archive
        refusal = f"checkpoint={path}: damaged"
        assert torch.equal(found.pop("weights"), STATE["weights"])
        assert found == {"step": 3, "loss": [0.5, 0.25]}
    assert re.match(r"^checkpoint=\S+: damaged[^\n]*$", refusal)


def test_a_flipped_bit_of_a_weight_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    checkpoint.save(path, STATE)
    data = path.read_bytes()
    at = data.index(STATE["weights"].numpy().tobytes())
    path.write_bytes(data[: at + 9] + bytes([data[at + 9] ^ 4]) + data[at + 10 :])
    assert not torch.equal(torch.load(path)["weights"], STATE["weights"])
    with pytest.raises(ValueError, match="damaged"):
        checkpoint.load(path)


def test_a_checkpoint_in_anothers_place_is_refused(tmp_path: Path) -> None:
    store = checkpoint.Store(tmp_path)
    first, second = store.path(["silu", 1]), store.path(["relu", 1])
    store.write(first, {"step": 1})
    assert store.read(first)["step"] == 1
    assert store.read(second) is None
    first.rename(second)
    with pytest.raises(ValueError, match=f"is {first.name}'s; delete it"):
        store.read(second)


def test_a_fresh_store_finds_only_what_it_wrote(tmp_path: Path, monkeypatch) -> None:
    path = checkpoint.Store(tmp_path).path(["silu", 1])
    checkpoint.Store(tmp_path).write(path, {"step": 1})
    monkeypatch.setenv("STOCHA_FRESH", "1")
    fresh = checkpoint.Store(tmp_path)
    assert fresh.read(path) is None
    fresh.write(path, {"step": 2})
    assert fresh.read(path)["step"] == 2
    monkeypatch.setenv("STOCHA_FRESH", "")
    assert checkpoint.Store(tmp_path).read(path)["step"] == 2


def test_a_missing_checkpoint_is_one_clear_line(tmp_path) -> None:
    with pytest.raises(ValueError, match="no such file"):
        checkpoint.load(tmp_path / "none.pt")


def test_a_claim_is_held_by_one_and_keys_are_apart(tmp_path) -> None:
    store = checkpoint.Store(tmp_path)
    order: list[str] = []
    entered = threading.Event()

    def second() -> None:
        entered.set()
        with store.claim(["silu", 1]) as path:
            order.append(f"second finds {path.is_file()}")

    with store.claim(["silu", 1]) as path:
        worker = threading.Thread(target=second)
        worker.start()
        entered.wait()
        with store.claim(["relu", 1]):  # another key is free
            order.append("other")
        checkpoint.save(path, {"step": 1})
        order.append("first")
    worker.join()
    assert order == ["other", "first", "second finds True"]
