from concurrent.futures import Executor, Future
from dataclasses import replace

import numpy as np
import pytest
import torch

from stocha.activations import names
from stocha.base.streams import generator
from stocha.toy import ensemble, reference
from stocha.toy.config import ToyConfig
from stocha.toy.data import make_data
from stocha.toy.records import History, stack

SMALL = ToyConfig(
    samples=320, features=8, widths=(4, 3), epochs=2, runs=3, batch_size=64, dtype="float64"
)
MIXED = "stocha(0.5,positive=mixed)"
RECORDED = ("train_loss", "val_loss", "val_accuracy", "sparsity", "gate")

CASES = {
    **{name: ToyConfig(arm=name) for name in (*names(), MIXED)},
    "stocha by row": ToyConfig(arm="stocha(0.3,granularity=token,positive=silu)"),
    "stocha by layer": ToyConfig(arm="stocha(0.5,granularity=layer,test=expectation)"),
    "layer gate": ToyConfig(arm="learnable_stoch(input=layer)", gate_weight_decay=0.0),
    "decoupled decay": ToyConfig(arm="gumbel_stoch(start=even)", optimizer="adamw", scaled=True),
    "gates below zero": ToyConfig(arm="gumbel_stoch(positive=identity)", gate_weight_decay=0.5),
    "gumbel soft": ToyConfig(arm="gumbel_stoch(input=layer,train=soft)"),
    "swi_ft": ToyConfig(arm="silu+ft(0.3)"),
    "anneal": ToyConfig(arm="anneal(positive=mixed)"),
    "alternate": ToyConfig(arm=f"alternate(3,{MIXED},relu)"),
    "gate in and out": ToyConfig(arm="alternate(2,relu,learnable_stoch,learnable_stoch(hidden=3))"),
    "gumbel cools": ToyConfig(arm="gumbel_stoch(temperature=2)+gumbel_stoch(0.5,train=soft)"),
}


def small(case: ToyConfig, **changes: object) -> ToyConfig:
    sizes = {k: getattr(SMALL, k) for k in ("samples", "features", "widths", "epochs")}
    return replace(case, **sizes, runs=3, batch_size=64, dtype="float64", **changes)


def assert_same_trajectory(one: History, two: History, rtol: float, atol: float) -> None:
    for name in RECORDED:
        np.testing.assert_allclose(
            getattr(one, name), getattr(two, name), rtol=rtol, atol=atol, err_msg=name
        )


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_ensemble_follows_the_plain_loop(case):
    config = small(case)
    data = make_data(config)
    plain = stack([reference.train_run(config, seed, data) for seed in config.run_seeds])
    assert_same_trajectory(ensemble.train(config, data), plain, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_ensemble_follows_the_plain_loop_in_float32(case):
    # sparsity and accuracy count, so one element on the other side moves them by 1/count
    config = replace(small(case), dtype="float32")
    data = make_data(config)
    plain = stack([reference.train_run(config, seed, data) for seed in config.run_seeds])
    assert_same_trajectory(ensemble.train(config, data), plain, rtol=1e-3, atol=2e-2)


@pytest.mark.parametrize("name", ["relu", "stocha", "bernoulli_silu", "gumbel_stoch"])
def test_a_run_does_not_know_of_the_others(name):
    together = ensemble.train(small(ToyConfig(arm=name)))
    alone = ensemble.train(replace(small(ToyConfig(arm=name)), runs=1, seed=1))
    for field in RECORDED:
        # batched products may round differently with another number of matrices
        np.testing.assert_allclose(
            getattr(together, field)[1], getattr(alone, field)[0], rtol=1e-9, atol=1e-12
        )


@pytest.mark.parametrize("name", ["silu", "stocha", "gumbel_stoch"])
def test_the_same_configuration_gives_the_same_bits_and_leaves_the_global_rng_alone(name):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one = ensemble.train(small(ToyConfig(arm=name)))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    two = ensemble.train(small(ToyConfig(arm=name)))
    for field in RECORDED:
        np.testing.assert_array_equal(getattr(one, field), getattr(two, field))


def test_runs_differ_from_each_other():
    history = ensemble.train(small(ToyConfig(arm="stocha")))
    assert len(np.unique(history.val_loss[:, -1])) == 3


def test_an_activation_that_draws_moves_neither_initialisation_nor_order():
    drawn, plain = (small(ToyConfig(arm=name)) for name in ("stocha", "relu"))
    for a, b in zip(
        ensemble.Ensemble(drawn).weights, ensemble.Ensemble(plain).weights, strict=True
    ):
        assert torch.equal(a, b)
    order = ensemble.epoch_order(drawn, 2, 256)
    torch.manual_seed(0)
    assert torch.equal(order, ensemble.epoch_order(plain, 2, 256))
    assert torch.equal(order[0].sort().values, torch.arange(256))
    expected = torch.randperm(256, generator=generator(drawn.seed + 1, "order", 2))
    assert torch.equal(order[1], expected)


def test_gates_leave_the_linear_layers_initialisation_alone():
    gated, plain = (small(ToyConfig(arm=name)) for name in ("gumbel_stoch", "relu"))
    for a, b in zip(
        ensemble.Ensemble(gated).weights, ensemble.Ensemble(plain).weights, strict=True
    ):
        assert torch.equal(a, b)


def test_noise_is_keyed_by_run_step_and_layer():
    noise = ensemble.RunNoise(replace(SMALL, runs=2, seed=3))
    ours = [torch.rand(4, generator=g) for g in noise.at(17)(1)]
    keyed = [torch.rand(4, generator=generator(s, "activation", 17, 1)) for s in (3, 4)]
    assert all(torch.equal(a, b) for a, b in zip(ours, keyed, strict=True))


def test_training_reduces_the_loss():
    config = replace(SMALL, arm="silu", epochs=30, lr=0.01, widths=(8, 8))
    history = ensemble.train(config)
    assert (history.train_loss[:, -1] < history.train_loss[:, 1] - 0.1).all()
    assert (history.val_accuracy[:, -1] > 0.7).all()


def test_a_network_with_a_zero_layer_is_reported_dead():
    config = replace(SMALL, arm="relu", runs=2, epochs=1)
    network = ensemble.Ensemble(config)
    with torch.no_grad():
        network.biases[0][1] = -1e6
    history = History(config, config.run_seeds)
    noise = ensemble.RunNoise(config).at("validation", 1)
    ensemble.validate(network, make_data(config), noise, history, 1)
    assert history.zero_layer[:, 1, 0].tolist() == [False, True]
    assert history.dead[1]
    assert history.sparsity[1, 1, 0, 0] == 1


def test_watch_sees_every_epoch_and_fit_returns_the_trained_networks():
    seen: list[int] = []
    network, history = ensemble.fit(SMALL, watch=lambda epoch, _: seen.append(epoch))
    assert seen == [1, 2]
    again = History(SMALL, SMALL.run_seeds)
    noise = ensemble.RunNoise(SMALL).at("validation", 2)
    ensemble.validate(network, make_data(SMALL), noise, again, 2)
    np.testing.assert_array_equal(again.val_loss[:, 2], history.val_loss[:, 2])


def test_threads_are_given_back():
    threads = torch.get_num_threads()
    ensemble.train(replace(SMALL, epochs=1))
    assert torch.get_num_threads() == threads


def test_several_trainings_in_processes_are_the_trainings():
    configs = [replace(SMALL, arm=name, epochs=1) for name in ("relu", "stocha")]
    done: list[str] = []
    several = ensemble.train_all(
        configs, workers=2, watch=lambda _, history: done.append(history.config.activation)
    )
    assert done == ["relu", "stocha"]
    for config, history in zip(configs, several, strict=True):
        np.testing.assert_array_equal(history.val_loss, ensemble.train(config).val_loss)


def test_validation_with_another_activation_leaves_training_alone():
    config = small(ToyConfig(arm="silu", inference=("relu", "silu")))
    data = make_data(config)
    swapped, plain = (
        ensemble.train(config, data),
        ensemble.train(small(ToyConfig(arm="silu")), data),
    )
    np.testing.assert_array_equal(swapped.train_loss, plain.train_loss)
    np.testing.assert_array_equal(swapped.swapped["silu"].val_loss, plain.val_loss)
    assert (swapped.swapped["relu"].sparsity[:, 0, 0] > 0.2).all()
    reference_runs = stack([reference.train_run(config, seed, data) for seed in config.run_seeds])
    for name in config.inference:
        np.testing.assert_allclose(
            swapped.swapped[name].val_loss, reference_runs.swapped[name].val_loss, rtol=1e-9
        )


def test_the_costliest_training_is_submitted_first_and_results_keep_their_order():
    submitted: list[str] = []

    class Pool(Executor):
        def submit(self, function, config):
            submitted.append(config.activation)
            future = Future()
            future.set_result(config.activation)
            return future

    given = ["relu", "gumbel_stoch", "stocha", "learnable_stoch"]
    futures = ensemble.submit_all([small(ToyConfig(arm=name)) for name in given], Pool())
    assert submitted == ["gumbel_stoch", "learnable_stoch", "stocha", "relu"]
    assert [future.result() for future in futures] == given


@pytest.mark.parametrize(("p", "same"), [(0.0, "relu"), (1.0, "silu")])
def test_the_probability_given_as_an_option_is_the_one_in_force(p, same):
    mixed = small(ToyConfig(arm=f"stocha({p:g},positive=mixed)"))
    plain = small(ToyConfig(arm=same))
    data = make_data(mixed)
    assert_same_trajectory(
        ensemble.train(mixed, data), ensemble.train(plain, data), rtol=1e-9, atol=1e-12
    )
