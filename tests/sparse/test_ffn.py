"""The layer is its definition, its methods are one another to the bit, bad input is refused."""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stocha.sparse import BreakEven, SparseFFN, kernels
from stocha.sparse.storage import narrow, widen
from stocha.sparse.workload import make_inputs, make_layer

METHODS = ["dense", "sparse", "screened"]


def weights(d=70, h=150, out=None, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    shapes = ((h, d), (h, d), (out or d, h))
    return tuple(rng.standard_normal(shape).astype(dtype) for shape in shapes)


def truth(x, gate, up, down, activation="relu", threshold=0.0):
    x, gate, up, down = (torch.from_numpy(np.asarray(a).astype(float)) for a in (x, gate, up, down))
    pre = x @ gate.T
    if activation == "silu":
        act = torch.nn.functional.silu(pre)
        act = torch.where(act.abs() <= threshold, 0.0, act)
    else:
        act = torch.where(pre <= threshold, 0.0, pre) ** (2 if activation == "relu2" else 1)
    return ((act * (x @ up.T)) @ down.T).numpy()


def close(y, expected):
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max(initial=0))


@settings(max_examples=40)
@given(
    d=st.integers(1, 140), h=st.integers(1, 300), batch=st.integers(1, 4),
    activation=st.sampled_from(["relu", "relu2"]), sparsity=st.sampled_from([0.0, 0.5, 0.95]),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_every_method_and_thread_count_returns_the_same_bits(
    d, h, batch, activation, sparsity, seed
):
    layer = make_layer(d, h, sparsity, seed=seed)
    x = make_inputs(d, batch, seed=seed)
    results = [
        SparseFFN(
            layer.gate, layer.up, layer.down, activation=activation, method=method, threads=threads
        )(x)
        for method, threads in [
            *((method, 1) for method in METHODS), ("dense", 2), ("sparse", 3), ("screened", 2)
        ]
    ]  # fmt: skip
    close(results[0], truth(x, layer.gate, layer.up, layer.down, activation))
    for result in results[1:]:
        assert result.tobytes() == results[0].tobytes()


@pytest.mark.parametrize("threshold", [0.0, 0.05, 0.3])
@pytest.mark.parametrize("activation", ["silu", "relu", "relu2"])
def test_threshold_leaves_out_exactly_the_small_activations(activation, threshold):
    x = np.random.default_rng(1).standard_normal(70, np.float32)
    for method in ("dense", "sparse", "screened")[: 2 if activation == "silu" else 3]:
        ffn = SparseFFN(
            *weights(), activation=activation, threshold=threshold, method=method, threads=1
        )
        close(ffn(x), truth(x, *weights(), activation, threshold))


def test_inactive_counts_the_neurons_left_out_for_every_input_of_the_batch():
    gate, up, down = weights()
    x = np.random.default_rng(1).standard_normal((3, 70), np.float32)
    for method in METHODS:
        ffn = SparseFFN(gate, up, down, method=method, threads=1)
        ffn(x)
        assert ffn.inactive == pytest.approx(((x @ gate.T) <= 0).all(axis=0).mean())
        assert 1 - ffn.inactive <= ffn.candidates <= 1


def test_screening_reads_fewer_gate_rows():
    layer = make_layer(256, 2048, 0.9, seed=0)
    ffn = SparseFFN(layer.gate, layer.up, layer.down, method="screened", threads=1)
    ffn(make_inputs(256, 1, seed=0))
    assert 0.05 < 1 - ffn.inactive < 0.15
    assert ffn.candidates < 0.25


def test_large_batches_are_taken_in_turns():
    x = np.random.default_rng(1).standard_normal((5, 11, 70), np.float32)
    ffn = SparseFFN(*weights(), method="sparse", threads=1)
    y = ffn(x)
    assert y.shape == (5, 11, 70)
    assert y[4, 10].tobytes() == ffn(x[4, 10]).tobytes()


def test_output_width_may_differ():
    gate, up, down = weights(out=33)
    x = np.random.default_rng(1).standard_normal(70, np.float32)
    for method in METHODS:
        close(
            SparseFFN(gate, up, down, method=method, threads=1)(x),
            truth(x, gate, up, down),
        )


@pytest.mark.parametrize("method", ["dense", "sparse", "screened"])
def test_bf16_storage_equals_float32_arithmetic_on_rounded_weights(method):
    x = np.random.default_rng(1).standard_normal((2, 70), np.float32)
    rounded = [widen(narrow(w)) for w in weights()]
    ffn = SparseFFN(*weights(), weights="bfloat16", method=method, threads=1)
    wide = SparseFFN(*rounded, method="sparse", threads=1)
    assert ffn(x).tobytes() == wide(x).tobytes()
    assert ffn.weights[0].itemsize == 2


def test_bf16_rounding_is_torch_rounding():
    values = np.random.default_rng(0).standard_normal(1000, np.float32)
    values[:4] = [np.inf, -np.inf, 0, 1e-40]
    assert narrow(values).tobytes() == (
        torch.from_numpy(values).bfloat16().view(torch.uint16).numpy().tobytes()
    )
    assert np.isnan(widen(narrow(np.array([np.nan], np.float32))))[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_torch_modules_go_in_and_tensors_come_out(dtype):
    torch.manual_seed(0)
    gate, up = (torch.nn.Linear(70, 150, bias=False, dtype=dtype) for _ in range(2))
    down = torch.nn.Linear(150, 70, bias=False, dtype=dtype)
    ffn = SparseFFN(gate, up, down, method="sparse", threads=1)
    x = torch.randn(2, 70)
    y = ffn(x)
    assert isinstance(y, torch.Tensor)
    arrays = [w.weight.detach().float().numpy() for w in (gate, up, down)]
    close(y.numpy(), truth(x, *arrays))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("where", ["gate", "up", "down", "x"])
@pytest.mark.parametrize("method", METHODS)
def test_nan_and_infinity_are_those_of_the_dense_layer(bad, where, method):
    matrices = dict(zip(("gate", "up", "down"), weights(d=24, h=40), strict=True))
    x = np.random.default_rng(1).standard_normal(24, np.float32)
    if where == "x":
        x[3] = bad
    else:
        matrices[where][5, 7] = bad
    gate, up, down = (torch.from_numpy(w) for w in matrices.values())
    value = torch.from_numpy(x)
    dense = down @ (torch.relu(gate @ value) * (up @ value))
    y = SparseFFN(gate, up, down, method=method, threads=1)(value)
    torch.testing.assert_close(y, dense, equal_nan=True, rtol=1e-4, atol=1e-3)


def test_no_active_neuron_gives_zero_and_all_active_the_whole_layer():
    gate, up, down = weights()
    x = np.abs(np.random.default_rng(1).standard_normal(70, np.float32))
    for sign in (-1, 1):
        ffn = SparseFFN(sign * np.abs(gate), up, down, method="sparse", threads=1)
        close(ffn(x), truth(x, sign * np.abs(gate), up, down))
        assert ffn.inactive == (sign < 0)


@pytest.mark.parametrize(("d", "h", "batch"), [(0, 4, 2), (4, 0, 2), (4, 4, 0), (0, 0, 1)])
def test_empty_dimensions_give_zeros(d, h, batch):
    for method in ["auto", *METHODS]:
        ffn = SparseFFN(
            np.ones((h, d), np.float32), np.ones((h, d), np.float32), np.ones((3, h), np.float32),
            method=method,
        )  # fmt: skip
        y = ffn(np.ones((batch, d), np.float32))
        assert y.shape == (batch, 3)
        assert not y.any()


def test_read_only_transposed_and_strided_arrays_work():
    gate, up, down = weights()
    x = np.random.default_rng(1).standard_normal(140, np.float32)[::2]
    gate.flags.writeable = up.flags.writeable = down.flags.writeable = x.flags.writeable = False
    odd = (np.asfortranarray(gate), np.repeat(up, 2, axis=0)[::2], np.asfortranarray(down))
    results = [SparseFFN(*w, method="sparse", threads=1)(x) for w in ((gate, up, down), odd)]
    assert results[0].tobytes() == results[1].tobytes()


def test_the_input_is_not_changed_and_results_do_not_share_memory():
    ffn = SparseFFN(*weights(), method="sparse", threads=1)
    x = np.random.default_rng(1).standard_normal(70, np.float32)
    kept = x.copy()
    first = ffn(x)
    copy = first.copy()
    ffn(2 * x)
    assert (x == kept).all()
    assert (first == copy).all()


def test_auto_follows_the_sparsity_it_observes():
    layer = make_layer(64, 512, 0.9, seed=0)
    plan = BreakEven(sparse=0.2, screened=0.7)
    ffn = SparseFFN(layer.gate, layer.up, layer.down, threads=1, break_even=plan)
    assert ffn.choose() == "sparse"
    mean = make_inputs(64, 1, seed=0)[0]
    first = ffn(mean)
    assert ffn.choose() == "screened"
    assert ffn(mean).tobytes() == first.tobytes()
    ffn(-mean)  # the gate opens
    assert ffn.choose() == "dense"
    ffn(mean)  # the dense method still counts, so the choice recovers
    assert ffn.choose() == "screened"


def test_auto_measures_its_break_even():
    ffn = SparseFFN(*weights(), threads=1)
    assert 0 <= ffn.break_even.sparse <= 1
    assert 0 <= ffn.break_even.screened <= 1
    silu = SparseFFN(*weights(), activation="silu", threads=1)
    assert silu.break_even.screened > 1
    assert silu.screen is None


GATE, UP, DOWN = weights(d=8, h=12)
X = np.ones(8, np.float32)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: SparseFFN(GATE, UP[:5], DOWN),
            r"up=float32 \[5, 8\].*: allowed: gate, up \[h, d\]",
        ),
        (lambda: SparseFFN(GATE, UP, DOWN.T), r"down=float32 \[12, 8\]: allowed"),
        (
            lambda: SparseFFN(GATE.astype(float), UP, DOWN),
            r"gate=float64 \[12, 8\]: allowed: float32",
        ),
        (lambda: SparseFFN(GATE[0], UP, DOWN), r"gate=float32 \[8\]: allowed: 2 dim"),
        (
            lambda: SparseFFN(GATE.tolist(), UP, DOWN),
            "gate=list: allowed: a float32 or uint16 array",
        ),
        (
            lambda: SparseFFN(torch.nn.Linear(8, 12), UP, DOWN),
            "gate=Linear with bias: allowed",
        ),
        (
            lambda: SparseFFN(torch.empty(12, 8, device="meta"), UP, DOWN),
            "gate=torch.strided on meta: allowed",
        ),
        (
            lambda: SparseFFN(torch.ones(12, 8).bfloat16(), UP, DOWN),
            "gate=uint16 .*: allowed: one dtype",
        ),
        (
            lambda: SparseFFN(GATE, UP, DOWN, activation="gelu"),
            "activation='gelu': allowed: relu",
        ),
        (
            lambda: SparseFFN(GATE, UP, DOWN, method="best"),
            "method='best': allowed: auto",
        ),
        (
            lambda: SparseFFN(GATE, UP, DOWN, threads=0),
            r"threads=0: allowed: int in \[1",
        ),
        (
            lambda: SparseFFN(GATE, UP, DOWN, threshold=-1),
            r"threshold=-1: allowed: float in \[0",
        ),
        (lambda: SparseFFN(GATE, UP, DOWN, weights="int4"), "weights='int4': allowed"),
        (
            lambda: SparseFFN(GATE, UP, DOWN, method="screened", activation="silu"),
            "'screened': allowed with activation='silu'",
        ),
    ],
)
def test_bad_weights_and_options_are_one_clear_line(build, message):
    with pytest.raises(ValueError, match=message) as caught:
        build()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.ones(7, np.float32), r"x=float32 \[7\]: allowed: \[..., 8\]"),
        (np.float32(1), "x=float32: allowed: a float32 array"),
        (np.ones(8), r"x=float64 \[8\]: allowed: float32"),
        (torch.ones(8, dtype=torch.float64), "x=torch.float64"),
        (torch.ones(8, device="meta"), "x=torch.strided on meta"),
        (torch.ones(1, 8).to_sparse(), "x=torch.sparse_coo on cpu: allowed"),
        (torch.ones(8, requires_grad=True), "x=a tensor with gradient: allowed"),
        ([1.0] * 8, "x=list: allowed"),
    ],
)
def test_bad_input_is_one_clear_line(x, message):
    ffn = SparseFFN(GATE, UP, DOWN, method="sparse", threads=1)
    with pytest.raises(ValueError, match=message) as caught:
        ffn(x)
    assert "\n" not in str(caught.value)


ONE = 0x3F80  # in bf16
MATRICES = st.builds(
    lambda shape, dtype, order: np.full(shape, ONE if dtype == "u2" else 1, dtype, order),
    st.lists(st.sampled_from([0, 1, 8, 12, 13]), max_size=3),
    st.sampled_from(["f4", ">f4", "f8", "f2", "u2", "i2", "i1", "?", "c8", "O"]),
    st.sampled_from("CF"),
)


@settings(max_examples=300)
@given(matrices=st.tuples(MATRICES, MATRICES, MATRICES), method=st.sampled_from(METHODS))
def test_the_constructor_takes_weights_that_fit_and_refuses_all_others_in_one_line(
    matrices, method
):
    gate, up, down = matrices
    fits = (
        all(w.ndim == 2 and w.dtype in (np.float32, np.uint16) for w in matrices)
        and gate.dtype == up.dtype == down.dtype
        and gate.shape == up.shape
        and len(gate) == down.shape[1]
    )
    if not fits:
        with pytest.raises(ValueError, match="allowed: ") as caught:
            SparseFFN(*matrices, method=method, threads=1)
        assert "\n" not in str(caught.value)
        return
    ffn = SparseFFN(*matrices, method=method, threads=1)
    x = np.ones(gate.shape[1], np.float32)
    close(ffn(x), truth(x, widen(gate), widen(up), widen(down)))


@pytest.mark.parametrize(
    "given",
    [
        {"threads": 1.5}, {"threads": True}, {"threads": "2"}, {"threshold": np.nan},
        {"threshold": "0"}, {"break_even": (0.1, 0.2)}, {"activation": ["relu"]}, {"method": None},
    ],
)  # fmt: skip
def test_options_of_another_type_are_refused(given):
    with pytest.raises(ValueError, match=f"^{next(iter(given))}=.*: allowed: "):
        SparseFFN(GATE, UP, DOWN, **given)


def test_masked_arrays_are_refused():
    with pytest.raises(ValueError, match="gate=MaskedArray: allowed"):
        SparseFFN(np.ma.masked_array(GATE, GATE > 0), UP, DOWN)


CHANGES = {
    "numpy": lambda w: w.numpy().fill(1.0),
    "no_grad": lambda w: w.mul_(-2),
    "data": lambda w: w.data.copy_(torch.ones_like(w)),
    "inference": lambda w: torch.inference_mode()(w.fill_)(1.0),
}


@settings(max_examples=60)
@given(
    which=st.integers(0, 2), change=st.sampled_from(sorted(CHANGES)),
    method=st.sampled_from(METHODS), dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    called=st.booleans(), transposed=st.booleans(),
)  # fmt: skip
def test_weights_changed_in_place_after_building_change_nothing(
    which, change, method, dtype, called, transposed
):
    given_weights = [torch.from_numpy(w).to(dtype) for w in weights(d=12, h=40)]
    if transposed:
        given_weights = [w.T.contiguous().T for w in given_weights]
    changed = given_weights[which]
    if change == "numpy" and dtype == torch.bfloat16:
        changed = changed.view(torch.uint16)
    x = np.random.default_rng(1).standard_normal((2, 12), np.float32)
    before = SparseFFN(*given_weights, method=method, threads=1)(x)
    ffn = SparseFFN(*given_weights, method=method, threads=1)
    if called:
        ffn(x)
    CHANGES[change](changed)
    assert ffn(x).tobytes() == before.tobytes()
    after = SparseFFN(*given_weights, method=method, threads=1)(x)
    assert after.tobytes() != before.tobytes()


def test_what_a_layer_was_built_with_cannot_be_changed():
    ffn = SparseFFN(GATE, UP, DOWN, method="sparse", threads=1)
    for name in ("activation", "threshold", "method", "threads", "break_even"):
        with pytest.raises(AttributeError, match=f"{name} is fixed"):
            setattr(ffn, name, "dense")
    for view in ffn.weights:
        with pytest.raises(ValueError, match="read-only"):
            view[0, 0] = 1


def test_a_variant_shares_the_weights_and_returns_the_same_bits():
    ffn = SparseFFN(*weights(), method="dense", threads=1)
    x = np.random.default_rng(1).standard_normal((2, 70), np.float32)
    for method, threads in (("screened", None), ("sparse", 2), (None, 2)):
        other = ffn.variant(method=method, threads=threads)
        assert (other.method, other.threads) == (method or "dense", threads or 1)
        assert all(np.shares_memory(*w) for w in zip(ffn.weights, other.weights, strict=True))
        assert other(x).tobytes() == ffn(x).tobytes()
    assert (ffn.method, ffn.threads, ffn.inactive) == ("dense", 1, other.inactive)
    with pytest.raises(ValueError, match="method='best': allowed"):
        ffn.variant(method="best")


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_a_copied_layer_is_a_layer(duplicate):
    ffn = SparseFFN(*weights(), method="screened", threads=2)
    x = np.random.default_rng(1).standard_normal((2, 70), np.float32)
    y = ffn(x)
    assert duplicate(ffn)(x).tobytes() == y.tobytes()


def test_calls_from_several_threads_at_once_are_right():
    from concurrent.futures import ThreadPoolExecutor

    ffn = SparseFFN(*weights(), method="sparse", threads=2)
    inputs = np.random.default_rng(1).standard_normal((40, 70), np.float32)
    alone = [ffn(x).tobytes() for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        assert [y.tobytes() for y in pool.map(ffn, inputs)] == alone


@pytest.mark.parametrize("neurons", [1, 31, 32, 100, 8192])
@pytest.mark.parametrize("row_bytes", [1, 100, 2048, 8192, 50000])
def test_spread_rows_lists_every_row_of_a_section_once(neurons, row_bytes):
    listed = []
    for section in range(kernels.SECTIONS):
        rows = np.full(neurons // kernels.SECTIONS + 1, -1)
        count = kernels.spread_rows(rows, section, neurons, row_bytes)
        listed += rows[:count].tolist()
        plain = np.empty_like(rows)
        assert kernels.section_rows(plain, section, neurons) == count
        assert sorted(rows[:count]) == plain[:count].tolist()
    assert sorted(listed) == list(range(neurons))
