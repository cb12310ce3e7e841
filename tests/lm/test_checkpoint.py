"""Checkpoints are whole or absent, and one process at a time computes one of them."""

import threading
from pathlib import Path

import pytest
import torch

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
    with pytest.raises(ValueError, match="truncated or not a checkpoint") as caught:
        checkpoint.load(path)
    assert "\n" not in str(caught.value)


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


def test_the_cache_folder_can_be_chosen(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("STOCHA_CACHE", str(tmp_path))
    assert checkpoint.folder() == tmp_path
