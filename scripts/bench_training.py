"""How much faster a DPO epoch is than with padded chosen/rejected batches and full logits, in the same process.

python scripts/bench_training.py --data-dir FOLDER --num-items 64
"""

import time
from dataclasses import replace

import torch
import typer

from lofit_cli.interventions.head_edit import HeadEdit
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.models.load import load_model
from lofit_cli.models.logprobs import answer_logprobs, tokenize
from lofit_cli.models.packing import TokenSequence
from lofit_cli.schema.sources import ModelConfig, TaskConfig
from lofit_cli.tasks import load_task
from lofit_cli.training.losses import dpo_loss

BATCH_SIZE = 8


def epoch(lm: LanguageModel, items: list[list[TokenSequence]], edit: HeadEdit) -> float:
    """One pass over the items: loss and gradient of every batch, no update, so that both ways do the same work."""
    total = 0.0
    edit.zero_grad()
    for first in range(0, len(items), BATCH_SIZE):
        batch = items[first : first + BATCH_SIZE]
        with edit.attach(lm):
            flat = answer_logprobs(lm, [sequence for item in batch for sequence in item])
        reference = torch.zeros(2)
        loss = torch.stack([dpo_loss(pair, reference.to(pair), 1, 0.05) for pair in flat.split(2)]).mean()
        loss.backward()
        total += float(loss.detach())
    return total


def main(
    model: str = "smollm2",
    dtype: str = "float32",
    device: str = "auto",
    data_dir: str | None = None,
    num_items: int = 64,
    repeats: int = 3,
) -> None:
    """Run the same epoch both ways, in turn, and print the ratio of the times."""
    lm = load_model(ModelConfig(id=model, dtype=dtype, device=device))
    plain = replace(lm, batching="padded")
    config = TaskConfig("truthfulqa", data_dir=data_dir) if data_dir else TaskConfig("misconceptions")
    preferences = load_task(config).examples("train")[:num_items]
    items = tokenize(lm, [(p.prompt, p.answers) for p in preferences])
    geometry = lm.geometry
    everywhere = geometry.every_head()
    start_values = torch.randn(geometry.total_heads, geometry.head_dim)
    edit = HeadEdit(geometry, everywhere, scale=1e-3 * start_values).to(lm.model.device)
    epoch(plain, items[:BATCH_SIZE], edit)
    for repeat in range(repeats):
        start = time.perf_counter()
        plain_loss = epoch(plain, items, edit)
        middle = time.perf_counter()
        plain_gradient = edit.scale.grad.clone()
        packed_loss = epoch(lm, items, edit)
        end = time.perf_counter()
        gap = float((edit.scale.grad - plain_gradient).norm() / plain_gradient.norm())
        typer.echo(
            f"run {repeat + 1}: {len(items)} pairs, {lm.model.dtype}: padded {middle - start:.1f} s, "
            f"packed {end - middle:.1f} s, {(middle - start) / (end - middle):.2f} times faster, "
            f"loss differs by {abs(plain_loss - packed_loss):.1e}, gradient by {gap:.1e} of its norm"
        )


if __name__ == "__main__":
    typer.run(main)
