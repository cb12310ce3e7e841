"""The learning rate of a step, as a pure multiplier of the peak."""

import math

from stocha.lm.config import TrainConfig


def multiplier(t: int, total: int, config: TrainConfig) -> float:
    """Return the factor on the peak learning rate at step `t` of `total`, in (0, 1].

    Linear from 1/warmup at step 0 to 1 at step warmup − 1. Then "cosine": from 1 to `floor` at the
    last step; "wsd": 1 until the last `decay` of all steps, then linear to `floor`. A switch of the
    activation does not restart any of it (chapter *Sources*).
    """
    assert 0 <= t < total
    if t < config.warmup:
        return (t + 1) / config.warmup
    if config.schedule == "cosine":
        done = (t - config.warmup + 1) / (total - config.warmup)
        return config.floor + (1 - config.floor) * (1 + math.cos(math.pi * done)) / 2
    tail = max(1, round(config.decay * total))
    left = total - 1 - t
    return 1.0 if left >= tail else config.floor + (1 - config.floor) * left / tail


def share_after(switch: int, total: int, config: TrainConfig) -> float:
    """Return the fraction of the summed learning rate that steps from `switch` on receive."""
    rates = [multiplier(t, total, config) for t in range(total)]
    return sum(rates[switch:]) / sum(rates)
