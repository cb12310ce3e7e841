"""What a sweep costs is timed on points that were really executed and collected."""

import os

from stocha.study.sweeps import cost


def test_commands_and_both_programs_are_timed_in_a_store_of_their_own(monkeypatch):
    monkeypatch.setenv("STOCHA_RUNS", "/nowhere")
    told = []
    table = cost.commands(points=2, repeats=1)
    assert list(table["command"]) == ["plan", "status", "collect"]
    assert (table["points"] == 2).all()
    blocks = cost.overhead(1, 1, lambda *progress: told.append(progress))
    assert list(blocks["program"]) == ["papermill", "stocha"]
    assert (blocks["seconds"] > 1).all()  # a kernel was started
    assert told == [(1, 1, "blocks")]
    assert os.environ["STOCHA_RUNS"] == "/nowhere"
