"""Schedule: the learning rate over a run."""

from dataclasses import replace

import pytest
from tiny import RECIPE

from abdoseg.training.schedule import learning_rate


def test_the_rate_warms_up_and_falls_to_nothing():
    config = replace(RECIPE, warmup_steps=10, learning_rate=1.0)
    assert [learning_rate(config, 4, 0.0), learning_rate(config, 50, 0.5)] == pytest.approx([0.5, 0.5])
    for schedule, end in (("cosine", 0.0), ("poly", 0.0), ("constant", 1.0)):
        assert learning_rate(replace(config, schedule=schedule), 99, 1.0) == pytest.approx(end)
