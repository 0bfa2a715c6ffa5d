"""A control: an edit's vectors in random directions, of the same lengths at the same places."""

import copy

import numpy as np
import torch
from torch import Tensor, nn

from lofit_cli.interventions.head_edit import HeadEdit
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.interventions.residual_edit import DirectionEdit, DirectionsEdit


def draw_null(edit: Intervention, seed: int) -> Intervention | None:
    """Return an edit with random directions in place of its own, and everything else, such as a scale, as it is.

    Returns:
        None for an edit that adds no vectors.
    """
    if not isinstance(edit, HeadEdit | DirectionEdit | DirectionsEdit):
        return None
    null, own_numbers = copy.deepcopy(edit), None
    if isinstance(null, HeadEdit):
        vectors, own_numbers = null.offset, null.own_numbers
    else:
        vectors = null.vectors if isinstance(null, DirectionsEdit) else null.vector
    if vectors is None:
        return None
    vectors.data = _draw_like(vectors, own_numbers, seed)
    return null


def _draw_like(vectors: nn.Parameter, own_numbers: Tensor | None, seed: int) -> Tensor:
    """Return random vectors (..., width) of the same lengths, 0 where a row has no numbers of its own."""
    # Not by torch, whose first numbers for a seed are where training started.
    drawn = np.random.default_rng(seed).standard_normal(tuple(vectors.shape), dtype=np.float32)
    directions = torch.from_numpy(drawn).to(vectors)
    if own_numbers is not None:
        directions = directions * own_numbers
    own, new = (values.norm(dim=-1, keepdim=True) for values in (vectors.detach(), directions))
    alike: Tensor = own * directions / new
    return alike
