"""Finished runs as scripts/reproduce leaves them, without running anything."""

import json

import torch

from lofit_cli.artifacts.geometry import Geometry
from lofit_cli.artifacts.head_mask import HeadMask
from lofit_cli.artifacts.predictions import GeneratedAnswer, write_predictions
from lofit_cli.artifacts.run_dir import STATED

GEOMETRY = Geometry.uniform(3, 4, 8)


def write_manifest(folder, stage, **facts):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps({"status": "finished", "stage": stage, **facts}))


def write_selection(folder, heads, fold, seed):
    """Write a select-heads run that selected these heads."""
    write_manifest(folder, "select_heads", fold=fold, seed=seed)
    mask = torch.zeros(3, 4, dtype=torch.bool)
    mask[tuple(zip(*heads, strict=True))] = True
    HeadMask("tiny", GEOMETRY, "scale", mask.float(), mask).save(folder)


def write_evaluation(folder, scores, fold):
    """Write an evaluate run that gave these scores, a question each."""
    about = dict.fromkeys(STATED["evaluate"], "x")
    write_manifest(folder, "evaluate", **about | {"fold": fold, "metrics": ["em"]})
    write_predictions(
        folder, [GeneratedAnswer(str(i), "", "?", {"em": float(score)}, ["a"], "a") for i, score in enumerate(scores)]
    )
