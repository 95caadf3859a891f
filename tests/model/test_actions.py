"""Actions as networks read them."""

import pytest
import torch

from simworld.episode import ActionSpec
from simworld.model.actions import encode_actions, encoded_size

CONTINUOUS = ActionSpec("continuous", low=(-2.0, 0.0, 1.0), high=(2.0, 10.0, 1.0))
DISCRETE = ActionSpec("discrete", n=4)


def test_bounds_become_plus_and_minus_one():
    actions = torch.tensor([[-2.0, 0.0, 1.0], [2.0, 10.0, 1.0], [0.0, 5.0, 1.0], [99.0, -99.0, 1.0]])
    expected = torch.tensor([[-1.0, -1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [1.0, -1.0, 0.0]])
    assert encoded_size(CONTINUOUS) == 3
    torch.testing.assert_close(encode_actions(actions, CONTINUOUS), expected)


def test_an_index_becomes_one_hot():
    encoded = encode_actions(torch.tensor([[[3.0], [0.0]]]), DISCRETE)
    assert encoded_size(DISCRETE) == 4
    assert encoded.tolist() == [[[0, 0, 0, 1], [1, 0, 0, 0]]]


@pytest.mark.parametrize(
    ("actions", "spec"),
    [
        (torch.zeros(5, 2), CONTINUOUS),
        (torch.zeros(5, 2), DISCRETE),
        (torch.tensor([[4.0]]), DISCRETE),
        (torch.tensor([[-1.0]]), DISCRETE),
        (torch.zeros(5, 1), ActionSpec("continuous", low=(-1.0,), high=(float("inf"),))),
    ],
)
def test_bad_actions_are_refused(actions, spec):
    with pytest.raises(ValueError):
        encode_actions(actions, spec)
