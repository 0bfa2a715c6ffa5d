"""Head scores and masks read without torch, which takes seconds to import: a comparison draws them and no more."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from lofit_cli.artifacts.files import open_file
from lofit_cli.errors import UnusableRunError

FILE_NAME = "head_mask.safetensors"


@dataclass(frozen=True, eq=False)
class HeadScores:
    """What a `head_mask.safetensors` shows.

    Attributes:
        scores: (num_layers, max_heads) float, -inf where a head has no score or a layer no such head.
        mask: (num_layers, max_heads) bool, the selected heads.
    """

    scores: NDArray[np.float64]
    mask: NDArray[np.bool_]


def read_head_scores(file: Path) -> HeadScores:
    """Read the two tensors of a head mask.

    Raises:
        UserError: the file can't be read, or is no head mask.
    """
    try:
        open_file(file).close()
        with safe_open(file, framework="numpy") as content:
            scores, mask = content.get_tensor("head_scores"), content.get_tensor("head_mask")
    except (OSError, SafetensorError, TypeError, ValueError) as error:
        raise UnusableRunError(f"{file} could not be read ({str(error).partition(chr(10))[0]})")
    if (
        scores.ndim != 2
        or scores.shape != mask.shape
        or mask.dtype != np.bool_
        or not mask.any()
        or not np.isfinite(scores[mask]).all()
    ):
        raise UnusableRunError(f"{file} holds no head scores with a mask of selected heads")
    return HeadScores(scores.astype(np.float64), mask)
