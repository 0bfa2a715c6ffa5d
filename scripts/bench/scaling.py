"""How the cost grows with the data, the rows, the model, the heads and the edits that stand side by side.

python scripts/bench/scaling.py --data-dir FOLDER --out runs/bench/scaling.json

Each axis is measured at a few sizes. Its exponent is the slope of the logarithms: 1 is linear, less grows more slowly.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer
from gpu import Shape, build

from lofit_cli.artifacts.head_mask import select_top
from lofit_cli.interventions.head_edit import HeadEdit
from lofit_cli.interventions.side_by_side import attached_side_by_side
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.models.load import load_model
from lofit_cli.models.logprobs import Prompted, score_answers
from lofit_cli.schema.sources import ModelConfig, TaskConfig
from lofit_cli.tasks import load_task
from lofit_cli.tasks.task import Task
from lofit_cli.training.objective import Objective, TrainingItem

QUESTIONS = (24, 100, 409, 817)
ROW_TOKENS = (128, 256, 512, 1024, 2048, 4096)
SHAPES = {"5M": (4, 128), "20M": (8, 256), "80M": (12, 512), "300M": (20, 1024), "1B": (24, 1792)}
ANSWERS = (2, 5, 10, 20)
HEADS = (1, 8, 32, 128)
COPIES = (1, 2, 4, 8, 16)
FEW = 48
"""Questions of the axes that are not about their number."""

Work = Callable[[], object]


class Axis:
    """One axis: what is measured at each of its sizes."""

    def __init__(self, name: str, repeats: int) -> None:
        self.name, self.repeats = name, repeats
        self.seconds: dict[str, float] = {}
        self.sizes: list[float] = []

    def measure(self, label: str, size: float, work: Work) -> None:
        """Take the fastest of several times."""
        times = []
        for _ in range(self.repeats):
            began = time.perf_counter()
            work()
            times.append(time.perf_counter() - began)
        self.seconds[label] = min(times)
        self.sizes.append(size)
        typer.echo(f"{self.name} {label}: {min(times):.2f} s")

    @property
    def exponent(self) -> float:
        """Return the slope of the seconds over the sizes, both as logarithms: least squares."""
        return float(np.polyfit(np.log(self.sizes), np.log(list(self.seconds.values())), 1)[0])


def read_task(data_dir: str | None, fold: int) -> Task[Any]:
    """Return a fold of TruthfulQA, or the bundled questions."""
    return load_task(TaskConfig("truthfulqa" if data_dir else "misconceptions", data_dir=data_dir, fold=fold))


def measure_scoring(lm: LanguageModel, items: Sequence[Prompted], repeats: int) -> list[Axis]:
    """Return the axes about scoring."""
    axes = [Axis(name, repeats) for name in ("questions", "tokens in a row", "answers to a question")]
    for count in QUESTIONS:
        if count <= len(items):
            axes[0].measure(str(count), count, partial(score_answers, lm, items[:count]))
    few = items[:FEW]
    for tokens in ROW_TOKENS:
        axes[1].measure(str(tokens), tokens, partial(score_answers, replace(lm, max_row_tokens=tokens), few))
    for count in ANSWERS:
        answers = [f" It is the number {i}, and not another one." for i in range(count)]
        axes[2].measure(str(count), count, partial(score_answers, lm, [(prompt, answers) for prompt, _ in few]))
    return axes


def measure_models(items: Sequence[Prompted], repeats: int) -> Axis:
    """Return the axis about the size of the model; random weights cost what trained ones do."""
    axis = Axis("weights", repeats)
    for label, (layers, hidden) in SHAPES.items():
        lm = build(Shape(layers, hidden, hidden // 64, 3 * hidden), torch.device("cpu"), torch.float32)
        body = sum(weight.numel() for weight in lm.model.parameters()) - lm.model.get_input_embeddings().weight.numel()
        axis.measure(label, body, partial(score_answers, lm, items[: FEW // 4]))
    return axis


def edit_of(lm: LanguageModel, count: int, seed: int) -> HeadEdit:
    """Return offsets on so many heads, drawn by a seed."""
    geometry = lm.geometry
    scores = torch.rand(geometry.num_layers, geometry.max_heads, generator=torch.Generator().manual_seed(seed))
    mask = select_top(scores.masked_fill(~geometry.every_head(), -torch.inf), min(count, geometry.total_heads))
    return HeadEdit(geometry, mask, offset=torch.zeros(int(mask.sum()), geometry.head_dim)).to(lm.device)


def measure_training(lm: LanguageModel, items: list[TrainingItem], objective: Objective, repeats: int) -> list[Axis]:
    """Return the axes about a training step: its heads, and how many edits share it."""
    axes = [Axis(name, repeats) for name in ("heads", "edits side by side")]
    for count in HEADS:
        with edit_of(lm, count, 0).attach(lm):
            axes[0].measure(str(count), count, partial(objective.loss, items, backward=True))
    for count in COPIES:
        with attached_side_by_side([edit_of(lm, 8, seed) for seed in range(count)], lm):
            axes[1].measure(str(count), count, partial(objective.losses, items, count, backward=True))
    return axes


def main(
    model: str = "smollm2", data_dir: str | None = None, repeats: int = 2, out: Path = Path("runs/bench/scaling.json")
) -> None:
    """Measure all axes, and write the seconds and the exponent of each."""
    lm, folds = load_model(ModelConfig(model)), (0, 1) if data_dir else (0,)
    tasks = [read_task(data_dir, fold) for fold in folds]
    items = [(task.prompt(item, "iti"), task.answers(item)) for task in tasks for item in task.items("test")]
    objective = Objective(lm, tasks[0], 0.5)
    axes = [
        *measure_scoring(lm, items, repeats),
        measure_models(items, repeats),
        *measure_training(lm, objective.tokenize("train")[:8], objective, repeats),
    ]
    found = {axis.name: {"seconds": axis.seconds, "exponent": axis.exponent} for axis in axes}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    for name, axis in found.items():
        typer.echo(f"{name}: exponent {axis['exponent']:.2f}")


if __name__ == "__main__":
    typer.run(main)
