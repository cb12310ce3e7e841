import torch

from stocha.toy.config import ToyConfig
from stocha.toy.data import make_data


def test_shapes_split_and_types():
    config = ToyConfig(samples=103, features=6, classes=3)
    data = make_data(config)
    assert data.x_train.shape == (config.train_samples, 6)
    assert len(data.x_train) == len(data.y_train) == 82
    assert len(data.x_val) == len(data.y_val) == 21
    assert data.x_train.dtype == torch.float32
    assert data.y_train.dtype == torch.int64
    assert set(data.y_train.tolist()) == {0, 1, 2}


def test_the_data_depend_on_their_own_seed_alone():
    data = make_data(ToyConfig(seed=0, runs=1, widths=(4,)))
    other_runs = make_data(ToyConfig(seed=7, runs=3, widths=(16, 2), batch_size=7))
    other_data = make_data(ToyConfig(data_seed=1))
    assert torch.equal(data.x_train, other_runs.x_train)
    assert torch.equal(data.y_val, other_runs.y_val)
    assert not torch.equal(data.x_train, other_data.x_train)


def test_no_sample_is_on_both_sides_of_the_split():
    data = make_data(ToyConfig(samples=200))
    both = torch.cat([data.x_train, data.x_val])
    assert len(torch.unique(both, dim=0)) == 200


def test_every_feature_is_informative():
    # a redundant feature would be a linear combination of the others
    x = make_data(ToyConfig(dtype="float64")).x_train
    assert torch.linalg.matrix_rank(x) == 30
