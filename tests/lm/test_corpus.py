"""Corpora: the same bytes for everyone, each document in one split, built whole or not at all."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from stocha.lm import tokenizer as bpe
from stocha.lm.batches import Batches
from stocha.lm.corpus import (
    SPLITS,
    CodeAndProse,
    Document,
    HuggingFaceText,
    PythonPackages,
    TextFolder,
    manifest,
    sentences,
)
from stocha.lm.tokens import Tokens, load, tokenise

SMALL = PythonPackages(
    ("numpy", "seaborn"), max_bytes=700_000, max_held_out=150_000, validation=0.1
)


@pytest.fixture(scope="module")
def packages() -> list[Document]:
    return list(SMALL.documents())


def test_packages_are_sorted_distinct_and_split_by_file(packages) -> None:
    names = [document.name for document in packages]
    assert names == sorted(names)
    assert len({document.text for document in packages}) == len(packages)
    assert {document.split for document in packages} == set(SPLITS) - {"prose"}
    for document in packages:
        assert (document.split == "heldout") == document.name.startswith("networkx/")


def test_packages_leave_out_tests_and_what_a_build_writes(packages) -> None:
    names = [document.name for document in packages]
    assert not [name for name in names if "/tests/" in name or name.endswith("/version.py")]
    assert "numpy/__config__.py" not in names
    assert all(len(document.text.encode()) <= SMALL.max_file for document in packages)
    for split, limit in (("train", SMALL.max_bytes), ("heldout", SMALL.max_held_out)):
        size = sum(len(d.text.encode()) for d in packages if d.split == split)
        assert limit / 2 < size <= limit


def test_a_smaller_corpus_is_a_subset_and_splits_alike(packages) -> None:
    small = PythonPackages(
        ("numpy", "seaborn"), max_bytes=300_000, max_held_out=80_000, validation=0.1
    )
    every = {document.name: document.split for document in packages}
    some = {document.name: document.split for document in small.documents()}
    assert len(some) < len(every)
    # a file too big for what is left makes room for a later one, so a few may differ
    shared = {name: split for name, split in some.items() if name in every}
    assert len(shared) > 0.8 * len(some)
    assert shared.items() <= every.items()


def test_the_manifest_knows_the_bytes(packages) -> None:
    first = manifest(SMALL, packages)
    again = manifest(SMALL, SMALL.documents())
    assert first == again
    assert json.loads(json.dumps(first)) == first
    changed = [*packages[:-1], Document(packages[-1].name, "other", packages[-1].split)]
    assert manifest(SMALL, changed)["hash"] != first["hash"]


MIXED = CodeAndProse(("seaborn",), ("joblib",), "networkx", "traitlets", 300_000, 0.1, 100_000, 0.1)


def test_code_and_prose_come_from_different_packages_and_no_text_twice() -> None:
    documents = list(MIXED.documents())
    assert documents == list(MIXED.documents())
    by_split: dict[str, set[str]] = {}
    for document in documents:
        package = document.name.removeprefix("prose/").split("/")[0]
        by_split.setdefault(document.split, set()).add(package)
    assert by_split["heldout"] == {"networkx"}
    assert by_split["prose"] == {"traitlets"}
    assert by_split["train"] == {"seaborn", "joblib"}
    prose = [document for document in documents if document.name.startswith("prose/")]
    inside = [document for document in prose if document.split != "prose"]
    assert 15_000 < sum(len(document.text.encode()) for document in inside) <= 30_000
    paragraphs = [text for document in prose for text in document.text.strip().split("\n\n")]
    assert len(paragraphs) == len(set(paragraphs))
    assert all(len(text.split()) >= 8 and ">>>" not in text for text in paragraphs)


def test_prose_is_the_sentences_of_a_text_without_its_markup() -> None:
    markup = """Title
=====

The `function` returns **all** that
:func:`~numpy.find` has ever found so far.

Parameters
----------
x : array
    The values whose mean is wanted by the caller of this.

>>> print("The values whose mean is wanted by the caller of this.")

.. note:: The values whose mean is wanted by the caller of this one.

too short.

The formula is then $a = b + c - d * e / f ** (g + h) < [i, j] | {k}$.
"""
    assert sentences(markup) == ["The function returns all that numpy.find has ever found so far."]


def test_an_unknown_package_is_one_clear_line() -> None:
    with pytest.raises(ValueError, match="packages='no_such_package'"):
        list(PythonPackages(("no_such_package",)).documents())


def test_a_folder_of_text_is_read_once_each(write_texts, tmp_path) -> None:
    write_texts(tmp_path, files=30)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "copy.txt").write_text((tmp_path / "003.txt").read_text())
    (tmp_path / "picture.bin").write_bytes(b"\xff\xfe\x00")
    documents = list(TextFolder(str(tmp_path), validation=0.3).documents())
    assert [document.name for document in documents] == [f"{n:03d}.txt" for n in range(30)]
    assert {document.split for document in documents} == {"train", "validation"}


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such folder"), ({}, r"holds no \.txt"), ({"a.txt": b"\xff\x00"}, "a.txt is not")],
)
def test_a_folder_without_text_is_one_clear_line(tmp_path, content, message) -> None:
    folder = tmp_path / "texts"
    if content is not None:
        folder.mkdir()
        for name, data in content.items():
            (folder / name).write_bytes(data)
    with pytest.raises(ValueError, match=message) as caught:
        list(TextFolder(str(folder)).documents())
    assert "\n" not in str(caught.value)


def test_a_hugging_face_data_set_is_read(tmp_path) -> None:
    pytest.importorskip("datasets")
    rows = [{"text": f"text number {number}"} for number in range(40)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    path = str(tmp_path / "rows.jsonl")
    for streaming in (True, False):
        source = HuggingFaceText(
            "json", data_files=path, streaming=streaming, max_documents=30, validation=0.2
        )
        documents = list(source.documents())
        assert [document.text for document in documents] == [row["text"] for row in rows[:30]]
    with pytest.raises(ValueError, match="field='body': the columns are text"):
        list(HuggingFaceText("json", field="body", data_files=path).documents())


def test_without_datasets_the_extra_is_named(monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(ValueError, match=r"stocha\[lm\]"):
        list(HuggingFaceText("json").documents())


def test_tokens_decode_to_the_documents(tokens: Tokens) -> None:
    end = tokens.tokenizer.token_to_id(bpe.END)
    for split, ids in tokens.splits.items():
        assert ids[-1] == end
        assert int((ids == end).sum()) == sum(
            file["split"] == split for file in tokens.manifest["files"]
        )
        assert len(ids) == tokens.manifest["tokens"][split]
        sizes = bpe.byte_lengths(tokens.tokenizer)
        expected = sum(f["bytes"] for f in tokens.manifest["files"] if f["split"] == split)
        assert sizes[np.asarray(ids)].sum() == expected


def test_byte_lengths_count_bytes_not_characters() -> None:
    text = "naïve → 世界\n" * 4
    tokenizer = bpe.train([text + "x y z"], 260)
    sizes = bpe.byte_lengths(tokenizer)
    assert sizes[tokenizer.encode(text).ids].sum() == len(text.encode())


def test_the_tokenizer_sees_the_training_split_only(write_texts, tmp_path) -> None:
    write_texts(tmp_path / "texts")
    source = TextFolder(str(tmp_path / "texts"), validation=0.2)
    first = tokenise(source, 280, tmp_path / "a")
    held_out = next(f["name"] for f in first.manifest["files"] if f["split"] == "validation")
    (tmp_path / "texts" / held_out).write_text("entirely different words " * 300)
    second = tokenise(source, 280, tmp_path / "b")
    assert first.tokenizer.to_str() == second.tokenizer.to_str()
    assert first.hash != second.hash


def test_a_folder_that_changes_is_tokenised_anew(write_texts, tmp_path) -> None:
    folder = write_texts(tmp_path / "texts")
    source = TextFolder(str(folder), validation=0.2)
    first = tokenise(source, 280, tmp_path / "cache")
    assert tokenise(source, 280, tmp_path / "cache").folder == first.folder
    (folder / "000.txt").write_text("alpha beta gamma " * 100)
    second = tokenise(source, 280, tmp_path / "cache")
    assert second.hash != first.hash
    (folder / "001.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"001\.txt is not UTF-8 text"):
        tokenise(source, 280, tmp_path / "cache")


def test_the_stamp_of_a_data_set_is_that_of_its_local_files(tmp_path) -> None:
    rows = tmp_path / "data" / "rows.jsonl"
    rows.parent.mkdir()
    rows.write_text('{"text": "a"}')
    sources = (
        HuggingFaceText("json", data_files=str(rows)),
        HuggingFaceText("json", data_files=str(tmp_path / "**" / "*.jsonl")),
        HuggingFaceText(str(tmp_path / "data")),
    )
    before = [source.stamp() for source in sources]
    assert [[row[0] for row in stamp] for stamp in before] == [[rows.as_posix()]] * 3
    rows.write_text('{"text": "another"}')
    for source, stamp in zip(sources, before, strict=True):
        assert source.stamp() != stamp
    assert HuggingFaceText("a-name-on-the-hub").stamp() == []


def test_a_build_that_fails_leaves_nothing_and_the_next_one_works(
    write_texts, tmp_path, monkeypatch
) -> None:
    write_texts(tmp_path / "texts")
    source = TextFolder(str(tmp_path / "texts"), validation=0.2)

    def full(*args: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("stocha.lm.tokens.np.array", full)
        with pytest.raises(ValueError, match="No space"):
            tokenise(source, 280, tmp_path / "cache")
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]
    assert tokenise(source, 280, tmp_path / "cache").splits


@pytest.mark.parametrize("name", ["train.bin", "tokenizer.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["halved", "other bytes", "deleted"])
def test_a_damaged_cache_is_built_anew(write_texts, tmp_path, name, damage) -> None:
    source = TextFolder(str(write_texts(tmp_path / "texts")), validation=0.2)
    first = tokenise(source, 280, tmp_path / "cache")
    before = {split: np.array(ids) for split, ids in first.splits.items()}
    path = first.folder / name
    data = path.read_bytes()
    if damage == "deleted":
        path.unlink()
    else:
        path.write_bytes(data[: len(data) // 2] if damage == "halved" else b"\xff" * len(data))
    with pytest.raises(ValueError, match="damaged or absent"):
        load(first.folder)
    again = tokenise(source, 280, tmp_path / "cache")
    assert again.hash == first.hash
    assert all(np.array_equal(again.splits[split], ids) for split, ids in before.items())


def test_a_cache_that_cannot_be_written_is_one_clear_line(write_texts, tmp_path) -> None:
    source = TextFolder(str(write_texts(tmp_path / "texts")), validation=0.2)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"STOCHA_CACHE=.*file/cache: cannot be written") as caught:
        tokenise(source, 280, tmp_path / "file" / "cache")
    assert "\n" not in str(caught.value)


def test_an_end_mark_in_a_text_is_text(tmp_path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number}.txt").write_text(f"text {number} says {bpe.END} and goes on")
    tokens = tokenise(TextFolder(str(folder), validation=0.3), 270, tmp_path / "cache")
    end = tokens.tokenizer.token_to_id(bpe.END)
    ends = sum(int((ids == end).sum()) for ids in tokens.splits.values())
    assert ends == 40
    assert end not in tokens.tokenizer.encode(f"says {bpe.END}").ids


def test_only_one_of_several_builds_happens(write_texts, tmp_path, monkeypatch) -> None:
    write_texts(tmp_path / "texts")
    source = TextFolder(str(tmp_path / "texts"), validation=0.2)
    builds = []
    train = bpe.train
    monkeypatch.setattr(bpe, "train", lambda *a: builds.append(1) or train(*a))
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: tokenise(source, 280, tmp_path / "cache"), range(4)))
    assert len(builds) == 1
    assert len({tokens.hash for tokens in made}) == 1


@pytest.mark.parametrize(("vocabulary", "message"), [(200, "257 to"), (60_000, "has only")])
def test_an_impossible_vocabulary_is_one_clear_line(vocabulary, message) -> None:
    with pytest.raises(ValueError, match=message):
        bpe.train(["some text"], vocabulary)


def test_batch_t_is_a_pure_function_of_seed_and_t(tokens: Tokens) -> None:
    ids = tokens.splits["train"]
    here, there = Batches(ids, 16, 4, seed=0), Batches(ids, 16, 4, seed=0)
    steps = [5, 900, 0, 5, 377]
    seen = {step: here.at(step) for step in steps}
    for step in sorted(steps, reverse=True):
        assert all(map(np.array_equal, there.at(step), seen[step]))
        for row in range(4):
            part = there.at(step, range(row, row + 1))
            assert np.array_equal(part[0][0], seen[step][0][row])
    assert not np.array_equal(Batches(ids, 16, 4, seed=1).at(5)[0], seen[5][0])


def test_an_epoch_visits_every_window_once(tokens: Tokens) -> None:
    ids = tokens.splits["train"]
    batches = Batches(ids, 16, 3, seed=0)
    steps = -(-batches.windows // 3)
    rows = np.concatenate([batches.at(step)[0].numpy() for step in range(steps)])
    windows = np.asarray(ids[: batches.windows * 16]).reshape(-1, 16)
    first_epoch = sorted(map(tuple, rows[: batches.windows].tolist()))
    assert first_epoch == sorted(map(tuple, windows.tolist()))
    inputs, targets = batches.at(2)
    assert np.array_equal(inputs[:, 1:], targets[:, :-1])


def test_a_context_longer_than_the_corpus_is_refused() -> None:
    with pytest.raises(ValueError, match="context=16: longer than the corpus of 16 tokens"):
        Batches(np.arange(16, dtype=np.uint16), 16, 1, 0)


def test_the_source_folder_is_never_written_to(write_texts, tmp_path) -> None:
    folder = write_texts(tmp_path / "texts", files=40)
    before = sorted(Path(folder).iterdir())
    tokenise(TextFolder(str(folder), validation=0.2), 280, tmp_path / "cache")
    assert sorted(Path(folder).iterdir()) == before
