"""Streams are named, stable and independent; a draw has its probability and own generator."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stocha.base.streams import bernoulli, generator, stream_seed, uniform

NAME = st.one_of(st.integers(-(2**40), 2**40), st.text(max_size=8))


def test_a_seed_never_changes_between_versions() -> None:
    # recorded once: results/ depends on these bits
    assert stream_seed(0, "init") == 5621797835976536519
    assert stream_seed(7, "activation", 12, 3) == 6136132220885374225


@given(st.integers(0, 2**60), st.lists(NAME, max_size=4), st.lists(NAME, max_size=4))
def test_streams_differ_exactly_when_their_names_do(
    seed: int, a: list[int | str], b: list[int | str]
) -> None:
    assert 0 <= stream_seed(seed, *a) < 2**63
    same = [(type(x), x) for x in a] == [(type(x), x) for x in b]
    assert (stream_seed(seed, *a) == stream_seed(seed, *b)) == same


def test_a_numpy_integer_names_the_stream_of_the_integer() -> None:
    assert stream_seed(np.int64(3), np.int32(4), "a") == stream_seed(3, 4, "a")


def test_a_generator_is_fresh_on_every_call() -> None:
    first, second = (torch.rand(5, generator=generator(3, "order", 1)) for _ in range(2))
    assert torch.equal(first, second)


@settings(max_examples=30)
@given(
    st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.5, 1.0, 1 / 256, 255.5 / 256, 1e-6])),
    st.integers(0, 2**20),
)
def test_the_rate_of_ones_is_p(p: float, seed: int) -> None:
    n = 20_000
    ones = int(bernoulli(p, (n,), generator(seed, "draw")).sum())
    # six standard deviations and one: a wrong rate of 1 % fails, chance does not
    assert abs(ones - n * p) <= 6 * math.sqrt(n * p * (1 - p)) + 1


def test_p_is_not_rounded_to_the_byte() -> None:
    # 0.9/256 would be 0 of 8 bits, and 1/256 rounded up: both are far outside the bound
    n, p = 4_000_000, 0.9 / 256
    ones = int(bernoulli(p, (n,), generator(1)).sum())
    assert abs(ones - n * p) < 5 * math.sqrt(n * p)


@pytest.mark.parametrize("p", [0.5, 0.3])
def test_bits_are_independent_of_their_neighbours(p: float) -> None:
    n = 200_000
    bits = bernoulli(p, (n,), generator(5), torch.float64) - p
    for lag in (1, 2, 7, 8, 9, 64):
        correlation = float((bits[lag:] * bits[:-lag]).mean()) / (p * (1 - p))
        assert abs(correlation) < 5 / math.sqrt(n)


@settings(max_examples=25)
@given(
    st.integers(1, 4),
    st.lists(st.integers(0, 9), max_size=2),
    st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    st.sampled_from([torch.bool, torch.float32, torch.bfloat16]),
)
def test_a_slice_draws_what_its_generator_alone_would(
    runs: int, rest: list[int], p: float, dtype: torch.dtype
) -> None:
    def sources() -> list[torch.Generator]:
        return [generator(9, run) for run in range(runs)]

    mask = bernoulli(p, (runs, *rest), sources(), dtype)
    noise = uniform((runs, *rest), sources(), dtype)
    assert mask.dtype == dtype
    assert mask.shape == noise.shape == (runs, *rest)
    for run, (for_mask, for_noise) in enumerate(zip(sources(), sources(), strict=True)):
        assert torch.equal(mask[run], bernoulli(p, rest, for_mask, dtype))
        assert torch.equal(noise[run], uniform(rest, for_noise, dtype))


@pytest.mark.parametrize(
    ("dtype", "drawn"),
    [
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_uniforms_are_never_coarser_than_float32(dtype: torch.dtype, drawn: torch.dtype) -> None:
    noise = uniform((10_000,), generator(2), dtype)
    assert noise.dtype == drawn
    assert 0 <= float(noise.min()) < float(noise.max()) < 1
    assert len(noise.unique()) > 9_900


@pytest.mark.parametrize("p", [-0.5, 1.1, float("nan")])
def test_no_probability_is_one_clear_line(p: float) -> None:
    with pytest.raises(ValueError, match=f"^p={p}: allowed: a probability"):
        bernoulli(p, (3,), generator(0))


def test_the_wrong_number_of_generators_is_named() -> None:
    with pytest.raises(ValueError, match=r"generator: 2 generators for a tensor of shape \(3, 4\)"):
        bernoulli(0.5, (3, 4), [generator(0), generator(1)])


def test_draws_leave_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    bernoulli(0.3, (50,), generator(0))
    uniform((50,), generator(0), torch.float32)
    assert torch.equal(torch.get_rng_state(), before)
