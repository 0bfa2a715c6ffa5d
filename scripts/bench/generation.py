"""How much faster generation is when the prompts' common beginning is computed once, in the same process.

python scripts/bench/generation.py --num-questions 16
"""

import time
from unittest.mock import patch

import typer

from lofit_cli.models import generation
from lofit_cli.models.load import load_model
from lofit_cli.schema.sources import ModelConfig, TaskConfig
from lofit_cli.tasks import load_task


def main(
    model: str = "smollm2",
    dtype: str = "float32",
    device: str = "auto",
    num_questions: int = 16,
    max_new_tokens: int = 24,
    repeats: int = 3,
) -> None:
    """Answer the same questions after the six-question primer both ways, in turn, and print the ratio of the times."""
    lm = load_model(ModelConfig(id=model, dtype=dtype, device=device))
    task = load_task(TaskConfig("misconceptions"))
    prompts = [task.prompt(question, "iti") for question in task.items("test")[:num_questions]]
    generation.generate_lines(lm, prompts[:2], 2)
    for repeat in range(repeats):
        start = time.perf_counter()
        with patch.object(generation, "MIN_CACHED_PREFIX", 10**9):
            plain = generation.generate_lines(lm, prompts, max_new_tokens)
        middle = time.perf_counter()
        shared = generation.generate_lines(lm, prompts, max_new_tokens)
        end = time.perf_counter()
        same = sum(a == b for a, b in zip(plain, shared, strict=True))
        typer.echo(
            f"run {repeat + 1}: {len(prompts)} prompts, {lm.model.dtype}: each prompt whole {middle - start:.1f} s, "
            f"shared beginning {end - middle:.1f} s, {(middle - start) / (end - middle):.1f} times faster, "
            f"{same} of {len(prompts)} lines the same"
        )


if __name__ == "__main__":
    typer.run(main)
