"""How much faster the packed scorer is than one forward pass per answer with the whole prompt, in the same process.

python scripts/bench_scoring.py --data-dir FOLDER --num-questions 40
"""

import time
from dataclasses import replace

import torch
import typer

from lofit_cli.models.language_model import LanguageModel
from lofit_cli.models.load import load_model
from lofit_cli.models.logprobs import Prompted, answer_logprobs, score_answers, tokenize
from lofit_cli.schema.sources import ModelConfig, TaskConfig
from lofit_cli.tasks import load_task


def score_one_by_one(lm: LanguageModel, items: list[Prompted]) -> list[float]:
    """One unpadded forward pass per answer, logits at every position."""
    plain = replace(lm, batching="padded")
    with torch.inference_mode():
        return [float(answer_logprobs(plain, [sequence])) for item in tokenize(lm, items) for sequence in item]


def main(
    model: str = "smollm2",
    dtype: str = "float32",
    device: str = "auto",
    data_dir: str | None = None,
    num_questions: int = 40,
    repeats: int = 3,
) -> None:
    """Score the same test questions both ways, in turn, and print the ratio of the times."""
    lm = load_model(ModelConfig(id=model, dtype=dtype, device=device))
    config = TaskConfig("truthfulqa", data_dir=data_dir) if data_dir else TaskConfig("misconceptions")
    task = load_task(config)
    questions = task.items("test")
    spread = questions[:: max(1, len(questions) // num_questions)][:num_questions]
    items = [(task.prompt(question, "iti"), task.answers(question)) for question in spread]
    score_one_by_one(lm, items[:1])
    for repeat in range(repeats):
        start = time.perf_counter()
        plain = score_one_by_one(lm, items)
        middle = time.perf_counter()
        packed = [value for item in score_answers(lm, items) for value in item]
        end = time.perf_counter()
        gap = max(abs(a - b) for a, b in zip(plain, packed, strict=True))
        typer.echo(
            f"run {repeat + 1}: {len(items)} questions, {len(plain)} answers, {lm.model.dtype}: "
            f"one by one {middle - start:.1f} s, packed {end - middle:.1f} s, "
            f"{(middle - start) / (end - middle):.1f} times faster, largest difference {gap:.1e}"
        )


if __name__ == "__main__":
    typer.run(main)
