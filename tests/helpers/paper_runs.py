"""Finished runs as scripts/reproduce leaves them, without running anything."""

import torch
from manifests import write_manifest

from lofit_cli.artifacts.geometry import Geometry
from lofit_cli.artifacts.head_mask import HeadMask
from lofit_cli.artifacts.predictions import GeneratedAnswer, write_predictions

GEOMETRY = Geometry.uniform(3, 4, 8)


def write_selection(folder, heads, fold, seed):
    """Write a select-heads run that selected these heads."""
    write_manifest(folder, "select_heads", fold=fold, seed=seed)
    mask = torch.zeros(3, 4, dtype=torch.bool)
    mask[tuple(zip(*heads, strict=True))] = True
    HeadMask("tiny", GEOMETRY, "scale", mask.float(), mask).save(folder)


def write_evaluation(folder, scores, fold):
    """Write an evaluate run that gave these scores, a question each."""
    write_manifest(folder, "evaluate", fold=fold, metrics=["em"])
    write_predictions(
        folder, [GeneratedAnswer(str(i), "", "?", {"em": float(score)}, ["a"], "a") for i, score in enumerate(scores)]
    )
