"""Manifests of finished runs as stages write them, every field of its type."""

import json

MADE = {
    "selector": None,
    "num_heads": 0,
    "num_trained_parameters": 0,
    "num_train": None,
    "made_by": {},
    "seed": 1,
    "selection_seed": None,
    "unknown_history": [],
}
SETTING = {
    "model": "smollm2",
    "model_commit": None,
    "model_hash": "a" * 64,
    "num_model_parameters": 1000,
    "dtype": "float32",
    "device": "cpu",
    "batching": "packed",
    "first_tokens": [],
    "task": "truthfulqa",
    "fold": 0,
    "dataset_hash": "d" * 64,
}
MEASURED = {
    "method": "none",
    "split": "test",
    "protocol": "iti",
    "metrics": ["mc1"],
    "questions_hash": "e" * 64,
    "intervention": None,
    "training_seconds": 0.0,
    "judges": {},
}
FACTS = {
    "select_heads": SETTING | MADE | {"selector": "scale", "num_heads": 2},
    "train_offsets": SETTING | MADE | {"method": "lofit", "head_mask": None, "selection_seconds": 1.5},
    "evaluate": SETTING | MADE | MEASURED,
    "compare": {"sections": [], "runs": []},
    "describe": {
        "model": "smollm2",
        "model_hash": "a" * 64,
        "method": "lofit",
        "task": "kinship",
        "intervention": "runs/x",
        "controls": ["runs/y"],
        "text": "texts.txt",
        "text_hash": "f" * 64,
        "layer": 15,
    },
    "export": {
        "model": "smollm2",
        "model_hash": "a" * 64,
        "method": "lofit",
        "intervention": "runs/x",
        "to": "hf",
        "out": "out",
        "form": "weights in its own class",
        "dtype": "float32",
        "largest_difference": 1e-6,
        "effect": 1.5,
        "dtype_difference": None,
    },
}


def manifest_of(stage, /, **facts):
    """Return the manifest of a finished run of a stage."""
    return {
        "status": "finished",
        "stage": stage,
        "format": 2,
        "ended_at": "2026-01-01T00:00:00+00:00",
        "wall_seconds": 100.0,
        "peak_memory_bytes": 2**31,
        "config_hash": "c" * 64,
        **FACTS[stage],
        "config": {},
        "command": ["lofit", stage],
        "python": "3.12.0",
        "platform": "Linux",
        "versions": {"lofit": "0.1.0", "torch": "2.8.0", "datasets": None},
        "git": {"commit": "0123456789abcdef", "dirty": False},
    } | facts


def write_manifest(folder, stage, /, **facts):
    """Write the manifest of a finished run of a stage."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps(manifest_of(stage, **facts)))
