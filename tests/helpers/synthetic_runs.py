"""Evaluate runs made up for tests and for timing: what a comparison reads of them, and nothing else."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from manifests import write_manifest

SIZES = {"truthfulqa": (409, 408), "mquake": (400, 400), "clutrr": (450, 450)}
METRICS = {"truthfulqa": ("mc1", "mc2", "mc3"), "mquake": ("em",), "clutrr": ("em",)}
CATEGORIES = {"truthfulqa": 38, "mquake": 3, "clutrr": 18}
NUM_ANSWERS = 10
_ANSWER = "Nothing happens to a question that nobody reads"
METHODS = (
    ("none", None, 0, {}),
    ("lofit", "scale", 27, {"trainer.learning_rate": 0.01}),
    ("lofit", "scale", 27, {"trainer.learning_rate": 0.005}),
    ("lofit", "random", 27, {"trainer.learning_rate": 0.01}),
    ("lofit", "probe", 27, {"trainer.learning_rate": 0.01}),
    ("lofit", "scale", 8, {"trainer.learning_rate": 0.01}),
    ("iti", "probe", 27, {"method.alpha": 15}),
    ("iti", "probe", 8, {"method.alpha": 15}),
    ("repe", None, 0, {"method.alpha": 4}),
    ("lora", None, 0, {"trainer.learning_rate": 0.0002}),
    ("red", None, 0, {"trainer.learning_rate": 0.001}),
)


def write_run(folder, task, fold, seed, /, method=METHODS[0], *, num_questions=None, gain=None, **facts):
    """Write one run: questions are as hard in every run of a fold, methods differ by `gain`."""
    size = num_questions or SIZES[task][fold]
    gain = METHODS.index(method) * 0.02 if gain is None and method in METHODS else gain or 0.0
    ease = np.random.default_rng([7, fold]).random(size)
    rng = np.random.default_rng([seed, fold, round(1000 * gain)])
    chance = np.clip(0.6 * ease + gain + rng.normal(0, 0.1, size), 0, 1)
    columns = {metric: chance.copy() for metric in METRICS[task]}
    for binary in ("mc1", "em"):
        if binary in columns:
            columns[binary] = (chance > 0.35).astype(float)
    ids = [f"{task}-{fold}-{i}" for i in range(size)]
    groups = [f"Category {i % CATEGORIES[task]}" for i in range(size)]
    asked = [f"What happens to question {i} that nobody reads, and who asked it first?" for i in range(size)]
    table = {"question_id": ids, "category": groups, "question": asked, **columns, **_texts(task, chance, rng)}
    folder.mkdir(parents=True)
    pq.write_table(pa.table(table), folder / "predictions.parquet")
    write_manifest(folder, "evaluate", **_facts(task, fold, seed, method) | facts)


def _texts(task, chance, rng):
    """Return what a task's runs hold beside their metrics, of about the lengths that TruthfulQA's texts have."""
    if task != "truthfulqa":
        generated = [f"the {'right' if value > 0.35 else 'wrong'} answer to {i}" for i, value in enumerate(chance)]
        return {"accepted": [[f"the right answer to {i}"] for i in range(len(chance))], "generated": generated}
    answers = [[f"{_ANSWER} ({i}, {j})" for j in range(NUM_ANSWERS)] for i in range(len(chance))]
    log_probs = rng.normal(-30, 8, (len(chance), NUM_ANSWERS)) + 10 * chance[:, None] * (np.arange(NUM_ANSWERS) == 0)
    marks = [[j < NUM_ANSWERS // 2 for j in range(NUM_ANSWERS)]] * len(chance)
    return {"answers": answers, "correct": marks, "log_probs": list(log_probs)}


def _facts(task, fold, seed, method):
    name, selector, num_heads, made_by = method
    return {
        "ended_at": f"2026-01-0{fold + 1}T00:00:{seed:02d}+00:00",
        "wall_seconds": 100.0 + seed,
        "training_seconds": 50.0 * bool(num_heads),
        "task": task,
        "fold": fold,
        "dataset_hash": f"{task}-{fold}",
        "questions_hash": f"{task}-{fold}",
        "seed": seed,
        "method": name,
        "selector": selector,
        "num_heads": num_heads,
        "num_trained_parameters": 64 * num_heads,
        "made_by": made_by,
        "metrics": list(METRICS[task]),
        "intervention": None if name == "none" else f"runs/train_offsets/{name}-{seed}",
        "protocol": "iti" if task == "truthfulqa" else "zero-shot, 32 tokens",
    }


def write_runs(folder, *, tasks=tuple(SIZES), folds=(0, 1), seeds=(1, 2, 42), methods=METHODS, num_questions=None):
    """Write a run for each task, method, fold and seed; return how many there are."""
    points = [(task, m, fold, seed) for task in tasks for m in range(len(methods)) for fold in folds for seed in seeds]
    for task, number, fold, seed in points:
        run_dir = folder / task / f"{number:02d}-fold{fold}-seed{seed}"
        write_run(run_dir, task, fold, seed, methods[number], num_questions=num_questions)
    return len(points)
