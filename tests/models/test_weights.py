"""A model is known by its weights, wherever in them another one differs."""

import pytest
import torch
from torch import nn

from lofit_cli.models.weights import SAMPLED_VALUES, _sample


@pytest.mark.parametrize("rows", [SAMPLED_VALUES, 2 * SAMPLED_VALUES, 1536])
@pytest.mark.parametrize("columns", [16, 64, 576])
def test_each_column_counts(rows, columns):
    weight = torch.arange(columns).repeat(rows, 1).float()
    found = _sample(nn.Module(), "weight", weight)
    assert set(found.int().tolist()) == set(range(columns))
    assert len(found) <= max(SAMPLED_VALUES + columns, 2 * SAMPLED_VALUES)
