"""Training: exact resume, shared trunks, data parallelism, and stopping when it goes wrong."""

import json
import math
import os
import re
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stocha import arms
from stocha.activations import StochA
from stocha.arms import Arm
from stocha.base.identity import science
from stocha.base.streams import bernoulli
from stocha.lm import checkpoint, training
from stocha.lm.config import ModelConfig, TrainConfig
from stocha.lm.model import noise
from stocha.lm.schedule import multiplier, share_after
from stocha.lm.tokens import Tokens
from stocha.lm.training import Diverged, Place, Run

MODEL = ModelConfig(vocabulary=280, width=16, layers=2, heads=2, kv_heads=1, ffn=24, context=16)
TRAIN = TrainConfig(tokens=4 * 16 * 12, batch=4, micro_batch=2, lr=0.01, warmup=2)
SWITCHED = Arm.parse("stocha(0.5,positive=mixed)+ft(0.25)")
SWITCH = 9


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_run(tokens: Tokens, store: Path, arm: Arm = SWITCHED, **options) -> Run:
    config = options.pop("config", TRAIN)
    return Run(MODEL, config, arm, tokens, checkpoint.Store(store), **options)


def assert_same(a: Run, b: Run) -> None:
    assert a.record.loss == b.record.loss
    for name, weight in a.model.state_dict().items():
        assert torch.equal(weight, b.model.state_dict()[name]), name
    assert repr(a.model.activation) == repr(b.model.activation)


class Stop(Exception):
    pass


@pytest.fixture(scope="module")
def whole(tokens, tmp_path_factory) -> Run:
    torch.set_num_threads(1)
    run = make_run(tokens, tmp_path_factory.mktemp("whole"))
    run.train()
    return run


@pytest.mark.parametrize("step", range(1, 12))
def test_interrupted_at_any_step_and_resumed_it_ends_with_the_same_bits(
    whole: Run, tokens, tmp_path, step: int
) -> None:
    def stop(done: int, total: int) -> None:
        if done == step:
            # what the loop does when its checkpoint is due
            run._save(run.store.path(run.key(run.total)).with_suffix(".partial.pt"))
            raise Stop

    run = make_run(tokens, tmp_path, progress=stop)
    with pytest.raises(Stop):
        run.train()
    torch.manual_seed(step)  # the global generator must not matter
    resumed = make_run(tokens, tmp_path)
    resumed.train()
    assert resumed.step == 12
    assert_same(whole, resumed)
    # a finished run taken up again is the model it ended as
    finished = make_run(tokens, tmp_path)
    finished.train()
    assert_same(whole, finished)


@pytest.mark.parametrize("name", ["learnable_stoch", "xielu", "polynorm", "ash"])
def test_an_activation_that_learns_is_resumed_to_the_same_bits(tokens, tmp_path, name) -> None:
    arm = Arm.parse(name)
    whole = make_run(tokens, tmp_path / "whole", arm)
    start = [weight.clone() for weight in whole.model.activation.parameters()]
    whole.train()
    for layer in whole.model.activations:
        moved = zip(start, layer.parameters(), strict=True)
        assert any(not torch.equal(a, b) for a, b in moved)
    # every layer has its own
    first, second = (layer.learnt for layer in whole.model.activations)
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in pairs)
    trunk = make_run(tokens, tmp_path, arm, boundaries=[2])
    trunk.progress = lambda done, total: (_ for _ in ()).throw(Stop) if done == 5 else None
    with pytest.raises(Stop):
        trunk.train()
    resumed = make_run(tokens, tmp_path, arm, boundaries=[2])
    resumed.train()
    assert_same(whole, resumed)


def test_checkpoints_inside_a_segment_are_written_when_due(whole, tokens, tmp_path) -> None:
    kept = []

    def look(done: int, total: int) -> None:
        kept.extend(tmp_path.glob("*.partial.pt"))
        if done == 7:
            raise Stop

    with pytest.raises(Stop):
        make_run(tokens, tmp_path, progress=look, save_every=0).train()
    assert kept
    resumed = make_run(tokens, tmp_path)
    steps: list[int] = []
    resumed.progress = lambda done, total: steps.append(done)
    resumed.train()
    assert steps[0] == 7
    assert_same(whole, resumed)
    assert not list(tmp_path.glob("*.partial.pt"))


def test_the_switch_changes_the_activation_in_force(tokens, tmp_path) -> None:
    seen: dict[int, str] = {}
    run = make_run(
        tokens,
        tmp_path,
        watch=lambda model, step: [{"seen": seen.setdefault(step, str(model.activation)) and 0.0}],
        watch_steps=frozenset(range(12)),
    )
    run.train()
    assert all("StochA" in seen[step] for step in range(SWITCH))
    assert all("relu" in seen[step] for step in range(SWITCH, 12))
    plain = make_run(tokens, tmp_path / "plain", arms.Constant(SWITCHED.before))
    plain.train()
    assert plain.record.loss[:SWITCH] == run.record.loss[:SWITCH]
    assert plain.record.loss[SWITCH] != run.record.loss[SWITCH]


def test_a_switch_is_executed_whatever_the_modules_print(tokens, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(StochA, "extra_repr", lambda self: "")
    arm = Arm.parse("stocha(0.3,positive=mixed)+stocha(0.25,0.7,positive=mixed)")
    used: list[float] = []
    run = make_run(
        tokens,
        tmp_path,
        arm,
        watch=lambda model, step: [{"p": used.append(model.activation.p) or 0.0}],
        watch_steps=frozenset(range(12)),
    )
    run.train()
    assert used == [0.3] * SWITCH + [0.7] * 3
    resumed = make_run(tokens, tmp_path, arm)
    resumed.train()
    assert resumed.model.activation.p == 0.7


def test_a_gate_outlives_its_options_and_is_there_from_the_first_step(tokens, tmp_path) -> None:
    arm = Arm.parse("gumbel_stoch(temperature=2)+gumbel_stoch(0.25,temperature=0.5)")
    run = make_run(tokens, tmp_path, arm)
    gates = [layer.logit for layer in run.model.activations]
    run.train()
    after = [layer.logit for layer in run.model.activations]
    assert all(a is b for a, b in zip(gates, after, strict=True))
    assert run.model.activation.temperature == 0.5
    resumed = make_run(tokens, tmp_path, arm)
    resumed.train()
    assert_same(run, resumed)
    make_run(tokens, tmp_path, Arm.parse("learnable_stoch+ft(0.25)")).train()
    with pytest.raises(
        ValueError, match=r"^arm=relu\+learnable_stoch\(0.25\): allowed: what it learns"
    ):
        make_run(tokens, tmp_path, Arm.parse("relu+learnable_stoch(0.25)"))


@pytest.mark.parametrize("before", [arms.SILU, SWITCHED.before, arms.STOCHA])
def test_an_arm_from_a_shared_trunk_is_the_run_from_scratch(tokens, tmp_path, before) -> None:
    store = tmp_path / "shared"
    trunk = make_run(tokens, store, arms.Constant(before), boundaries=[SWITCH])
    trunk.train()
    taken: list[int] = []
    arm = arms.SwiFT(0.25, before)
    shared = make_run(
        tokens, store, arm, boundaries=[SWITCH], progress=lambda done, _: taken.append(done)
    )
    shared.train()
    assert taken == [10, 11, 12]
    scratch = make_run(tokens, tmp_path / "alone", arm)
    scratch.train()
    assert_same(shared, scratch)


@pytest.mark.parametrize("draw", ["sample", "expectation"])
def test_stocha_is_evaluated_as_it_was_trained(draw) -> None:
    used = arms.planned("stocha", p=0.3, draw=draw).activation_at(0, 10)
    assert used.train().mode == used.eval().mode == draw


def test_arms_that_differ_share_nothing(tokens, tmp_path) -> None:
    base = make_run(tokens, tmp_path)
    others = [
        make_run(tokens, tmp_path, Arm.parse("expected(0.5,positive=mixed)+ft(0.25)")),
        make_run(tokens, tmp_path, Arm.parse("stocha(0.3,positive=mixed)+ft(0.25)")),
        make_run(tokens, tmp_path, config=replace(TRAIN, seed=1)),
        make_run(tokens, tmp_path, config=replace(TRAIN, lr=0.02)),
        make_run(tokens, tmp_path, config=replace(TRAIN, micro_batch=4)),
    ]
    paths = {run.store.path(run.key(SWITCH)) for run in (base, *others)}
    assert len(paths) == 1 + len(others)


def test_micro_batches_change_rounding_only(whole, tokens, tmp_path) -> None:
    run = make_run(tokens, tmp_path, config=replace(TRAIN, micro_batch=4))
    run.train()
    assert run.record.loss == pytest.approx(whole.record.loss, rel=1e-5)


def test_a_step_of_plain_operations_in_bfloat16_learns_alike(
    whole, tokens, tmp_path, monkeypatch
) -> None:
    """What CUDA runs, but for the compiler, on this machine's CPU."""
    monkeypatch.setattr(
        training, "place", lambda device: Place(torch.device("cpu"), torch.bfloat16)
    )
    run = make_run(tokens, tmp_path, device="auto")
    assert run.key(12) != whole.key(12)
    run.train()
    assert run.record.loss != whole.record.loss
    assert run.record.loss == pytest.approx(whole.record.loss, rel=0.01)
    resumed = make_run(tokens, tmp_path, device="auto")
    resumed.train()
    assert_same(run, resumed)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_cuda_trains_alike_and_resumes(whole, tokens, tmp_path) -> None:
    run = make_run(tokens, tmp_path, Arm.parse("silu"), device="cuda")
    run.train()
    plain = make_run(tokens, tmp_path / "cpu", Arm.parse("silu"))
    plain.train()
    assert run.record.loss == pytest.approx(plain.record.loss, rel=0.02)


def test_a_device_that_is_not_there_is_one_clear_line(tokens, tmp_path) -> None:
    with pytest.raises(ValueError, match=r"^device='tpu': allowed: auto, cpu"):
        make_run(tokens, tmp_path, device="tpu")


CUT = """
import os, sys, json
from pathlib import Path
import torch
from stocha.arms import Arm
from stocha.lm import checkpoint, config, tokens, training

torch.set_num_threads(1)
stop = int(sys.argv[4])
run = training.Run(
    config.ModelConfig(**json.loads(sys.argv[2])),
    config.TrainConfig(**json.loads(sys.argv[3])),
    Arm.parse("silu+ft(0.25)"),
    tokens.load(Path(sys.argv[5])),
    checkpoint.Store(Path(sys.argv[1])),
    save_every=0,
    progress=lambda done, total: os._exit(9) if done == stop else None,
)
run.train()
print(json.dumps([run.record.loss, [p.double().sum().item() for p in run.model.parameters()]]))
"""


def test_killed_while_it_compiles_and_resumed_from_the_cache_it_ends_with_the_same_bits(
    tokens, tmp_path
) -> None:
    source = str(Path(checkpoint.__file__).parents[2])
    environment = os.environ | {
        "PYTHONPATH": source, "OMP_NUM_THREADS": "1", "NUMBA_CACHE_DIR": str(tmp_path / "numba")
    }  # fmt: skip
    shape = json.dumps(asdict(replace(MODEL, context=64, width=32)))
    settings = json.dumps(asdict(replace(TRAIN, tokens=4 * 64 * 12)))

    def train(store: str, stop: int, code: int) -> str:
        arguments = [str(tmp_path / store), shape, settings, str(stop), str(tokens.folder)]
        done = subprocess.run(
            [sys.executable, "-c", CUT, *arguments],
            capture_output=True, text=True, timeout=120, env=environment,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        return done.stdout

    train("cut", 5, 9)
    assert train("cut", -1, 0) == train("whole", -1, 0)


@pytest.mark.parametrize("fresh", [False, True])
def test_a_fresh_run_trains_and_reads_no_checkpoint(tokens, tmp_path, fresh) -> None:
    make_run(tokens, tmp_path).train()
    taken: list[int] = []
    run = make_run(tokens, tmp_path, progress=lambda done, _: taken.append(done))
    run.store.fresh = fresh
    run.train()
    assert taken == (list(range(1, 13)) if fresh else [])


def test_a_checkpoint_of_other_code_is_not_continued(tokens, tmp_path, monkeypatch) -> None:
    run = make_run(tokens, tmp_path)
    run.train()
    kept = run.store.path(run.key(12))
    assert kept.is_file()
    assert science("stocha.lm.training") == training.SCIENCE
    monkeypatch.setattr(training, "SCIENCE", "of an edited step")
    assert make_run(tokens, tmp_path).store.path(run.key(12)) != kept


RANK = """
import json, sys
from pathlib import Path
import torch
import torch.distributed as dist
from stocha.arms import Arm
from stocha.lm import checkpoint, config, tokens, training

torch.set_num_threads(1)
dist.init_process_group("gloo")
folder, shape, settings = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
run = training.Run(
    config.ModelConfig(**shape),
    config.TrainConfig(**settings),
    Arm.parse("stocha(0.5,positive=mixed)+ft(0.25)"),
    tokens.load(Path(sys.argv[4])),
    checkpoint.Store(Path(folder) / "store"),
)
run.train()
(Path(folder) / f"{run.rank}.json").write_text(json.dumps([run.ranks, run.record.loss]))
dist.destroy_process_group()
"""


def test_two_ranks_give_the_loss_curve_of_one(whole, tokens, tmp_path) -> None:
    script = tmp_path / "rank.py"
    script.write_text(RANK)
    shape, settings = json.dumps(asdict(MODEL)), json.dumps(asdict(TRAIN))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    source = str(Path(checkpoint.__file__).parents[2])
    subprocess.run(
        [*launch, script, str(tmp_path), shape, settings, str(tokens.folder)],
        check=True,
        capture_output=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": source, "OMP_NUM_THREADS": "1"},
    )
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    assert first[0] == 2
    assert first[1] == pytest.approx(whole.record.loss, rel=1e-5)


@pytest.mark.parametrize(("batch", "wanted"), [(1, 1), (8, 8), (16, 16), (24, 12), (64, 16)])
def test_micro_batches_divide_the_batch_where_none_are_asked_for(batch: int, wanted: int) -> None:
    assert TrainConfig(batch=batch).micro_batch == wanted


def test_a_batch_that_micro_batches_do_not_fill_is_refused() -> None:
    with pytest.raises(ValueError, match="micro_batch=4"):
        replace(TRAIN, batch=6, micro_batch=4)


@pytest.mark.parametrize(("every", "good"), [(60.0, 5), (0.0, 7)])
@pytest.mark.parametrize("value", [math.nan, math.inf, 1e5])
def test_divergence_stops_and_names_the_last_good_checkpoint(
    tokens, tmp_path, value, every, good
) -> None:
    run = make_run(tokens, tmp_path, boundaries=[5], save_every=every)

    gradients = run.gradients

    def poisoned(step: int) -> float:
        if step == 7:
            run.model.head.weight.data.mul_(value)
        return gradients(step)

    run.gradients = poisoned
    with pytest.raises(Diverged, match=f"step 7: loss .* that of step {good}, ") as caught:
        run.train()
    assert "\n" not in str(caught.value)
    (path,) = re.findall(r"\S+\.pt", str(caught.value))
    state = checkpoint.load(Path(path))
    assert state["step"] == good
    assert all(torch.isfinite(weight).all() for weight in state["model"].values())


def test_noise_does_not_depend_on_how_a_batch_is_cut() -> None:
    whole = bernoulli(0.5, (4, 3, 8), noise(0, range(4), 7)(1))
    parts = [bernoulli(0.5, (2, 3, 8), noise(0, rows, 7)(1)) for rows in (range(2), range(2, 4))]
    assert torch.equal(whole, torch.cat(parts))
    for other in (noise(1, range(4), 7)(1), noise(0, range(4), 8)(1), noise(0, range(4), 7)(0)):
        assert not torch.equal(whole, bernoulli(0.5, (4, 3, 8), other))


def test_decay_is_on_matrices_only(tokens, tmp_path) -> None:
    run = make_run(tokens, tmp_path)
    decayed, plain = run.optimizer.param_groups
    assert decayed["weight_decay"] == 0.1
    assert all(parameter.ndim == 2 for parameter in decayed["params"])
    assert plain["weight_decay"] == 0
    assert all(parameter.ndim == 1 for parameter in plain["params"])
    trained = sum(p.numel() for group in run.optimizer.param_groups for p in group["params"])
    assert trained == MODEL.parameters


@given(
    total=st.integers(2, 5000),
    warmup=st.integers(0, 50),
    kind=st.sampled_from(["cosine", "wsd"]),
    floor=st.floats(0.001, 0.5),
)
@settings(max_examples=60)
def test_the_learning_rate_rises_then_falls_to_its_floor(total, warmup, kind, floor) -> None:
    warmup = min(warmup, total - 1)
    config = TrainConfig(schedule=kind, warmup=warmup, floor=floor)
    rates = [multiplier(t, total, config) for t in range(total)]
    assert all(0 < rate <= 1 for rate in rates)
    assert rates[:warmup] == sorted(rates[:warmup])
    assert all(a >= b for a, b in zip(rates[max(0, warmup - 1) :], rates[warmup:], strict=False))
    assert rates[-1] == pytest.approx(floor)


def test_the_share_of_the_learning_rate_after_the_switch_is_the_known_one() -> None:
    config = TrainConfig(warmup=0)
    for alpha, at, after in ((0.05, 1.6, 0.12), (0.1, 3.4, 0.36), (0.2, 10.5, 1.66)):
        switch = arms.switch_step(alpha, 100_000)
        assert 100 * multiplier(switch, 100_000, config) == pytest.approx(at, abs=0.06)
        assert 100 * share_after(switch, 100_000, config) == pytest.approx(after, abs=0.006)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"lr": 0.0}, "lr=0"),
        ({"micro_batch": 3}, "micro_batch=3"),
        ({"schedule": "linear"}, "schedule='linear'"),
        ({"decay": 1.0}, "decay=1"),
        ({"weight_decay": -1.0}, "weight_decay=-1"),
    ],
)
def test_impossible_training_is_one_clear_line(wrong, message) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TRAIN, **wrong)


def test_fewer_steps_than_warm_up_are_refused(tokens, tmp_path) -> None:
    with pytest.raises(ValueError, match="warmup=12"):
        make_run(tokens, tmp_path, config=replace(TRAIN, warmup=12))


def test_a_vocabulary_that_is_not_the_corpus_is_refused(tokens, tmp_path) -> None:
    with pytest.raises(ValueError, match="the corpus has 280"):
        Run(replace(MODEL, vocabulary=300), TRAIN, SWITCHED, tokens, checkpoint.Store(tmp_path))
