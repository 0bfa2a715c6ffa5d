"""The whole two-fold TruthfulQA job on a model of Llama-2-7B's shape with random weights: how near to the card's limit.

python scripts/bench/gpu.py --data-dir FOLDER            needs about 20 GB of GPU memory
python scripts/bench/gpu.py --layers 2 --hidden 64 --device cpu --questions 4        a try on any machine

Random weights cost what trained ones do. The tokenizer is SmolLM2's, so that the vocabulary is a little larger than
Llama's own. Operations are counted as two for each weight and token, for the way forth and again for the way back.
"""

import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import typer
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from lofit_cli.artifacts.head_mask import select_top
from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.evaluation.measure import measure_split
from lofit_cli.methods.lofit import make_lofit
from lofit_cli.models.embedded import embedded_model_dir
from lofit_cli.models.forward import choose_tail
from lofit_cli.models.heads import find_heads
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.models.logprobs import tokenize_items
from lofit_cli.models.memory import row_tokens
from lofit_cli.models.packing import group_rows, pack_row, shared_prefix_length
from lofit_cli.models.packing_check import choose_batching
from lofit_cli.schema.components import SelectorConfig, TrainerConfig
from lofit_cli.schema.sources import EvalConfig, ModelConfig, TaskConfig
from lofit_cli.schema.stages import SelectHeadsConfig, TrainOffsetsConfig
from lofit_cli.schema.trained_methods import LofitConfig
from lofit_cli.selectors.scale import score_heads_by_scale
from lofit_cli.tasks import load_task
from lofit_cli.tasks.task import Task

SCALE = TrainerConfig(learning_rate=5e-3, l1=5e-4, num_epochs=5, validate_every=5)
OFFSETS = TrainerConfig(learning_rate=1e-2, num_epochs=5, validate_every=5)
"""TruthfulQA's settings in the paper's table 6; the validation split is looked at once."""
NUM_HEADS = 32
PROTOCOL = "iti"
MATMUL_SIZE, BEST_OF = 8192, 5


@dataclass(frozen=True)
class Shape:
    """A Llama's sizes; those of the 7B by default."""

    layers: int = 32
    hidden: int = 4096
    heads: int = 32
    intermediate: int = 11008


def build(shape: Shape, device: torch.device, dtype: torch.dtype) -> LanguageModel:
    """Return a model of random weights on a device, checked and set up as a loaded one is."""
    tokenizer = AutoTokenizer.from_pretrained(embedded_model_dir("smollm2"))
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=shape.hidden, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, intermediate_size=shape.intermediate, max_position_embeddings=4096,
    )  # fmt: skip
    with device:
        torch.manual_seed(0)
        model = LlamaForCausalLM._from_config(config, dtype=dtype).eval().requires_grad_(False)
    rows = row_tokens(ModelConfig("random"), device)
    lm = LanguageModel("random", model, tokenizer, *find_heads(model), max_row_tokens=rows)
    return replace(lm, batching=choose_batching(lm), tail=choose_tail(lm))


def wait(device: torch.device) -> None:
    """Let the device finish what it was given."""
    if device.type != "cpu":
        torch.accelerator.synchronize()


@contextmanager
def timed(found: dict[str, float], name: str, device: torch.device) -> Iterator[None]:
    """Add the seconds of a `with` block to what was found under a name."""
    wait(device)
    began = time.perf_counter()
    yield
    wait(device)
    found[name] = found.get(name, 0.0) + time.perf_counter() - began


def matmul_flops(device: torch.device, dtype: torch.dtype, size: int) -> float:
    """Return the card's own peak: the fastest of several products of two square matrices, in operations a second."""
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    times = []
    for _ in range(BEST_OF + 1):
        wait(device)
        began = time.perf_counter()
        a @ b
        wait(device)
        times.append(time.perf_counter() - began)
    return float(2 * size**3 / min(times[1:]))


def scoring_flops(lm: LanguageModel, task: Task[Any]) -> float:
    """Return the operations that a look at the test questions needs, without those of attention."""
    items = [(task.prompt(item, PROTOCOL), task.answers(item)) for item in task.items("test")]
    tokenized = tokenize_items(lm, items)
    shared = shared_prefix_length([sequence for item in tokenized for sequence in item])
    rows = [pack_row([s for item in row for s in item], shared) for row in group_rows(tokenized, 4096, shared)]
    head = lm.model.get_output_embeddings().weight.numel()
    body = sum(weight.numel() for weight in lm.model.parameters()) - 2 * head
    nodes, predictors = (sum(len(getattr(row, name)) for row in rows) for name in ("tokens", "predictors"))
    return float(2 * (body * (nodes + shared) + head * predictors))


def run_fold(lm: LanguageModel, task: Task[Any], seconds: dict[str, float]) -> None:
    """Select heads, train offsets on them, and measure the test questions without and with them."""
    common: dict[str, Any] = {"model": ModelConfig("random"), "task": task.config, "eval": EvalConfig()}
    with tempfile.TemporaryDirectory() as folder:
        for stage in ("select_heads", "train_offsets"):
            Path(folder, stage).mkdir()
        config = SelectHeadsConfig(**common, selector=SelectorConfig("scale"), trainer=SCALE)
        with timed(seconds, "select heads", lm.device):
            scores = score_heads_by_scale(lm, task, config, RunDir(Path(folder, "select_heads"), "select_heads"))
        mask = select_top(scores, min(NUM_HEADS, lm.geometry.total_heads))
        making = TrainOffsetsConfig(**common, method=LofitConfig("lofit"), trainer=OFFSETS)
        with timed(seconds, "train offsets", lm.device):
            edit = make_lofit(lm, task, making, mask, RunDir(Path(folder, "train_offsets"), "train_offsets"))
        with timed(seconds, "measure the base model", lm.device):
            measure_split(lm, task, "test", PROTOCOL)
        with timed(seconds, "measure with offsets", lm.device), edit.attach(lm):
            measure_split(lm, task, "test", PROTOCOL)


def main(
    data_dir: str | None = None,
    device: str = "cuda",
    dtype: str = "bfloat16",
    layers: int = Shape.layers,
    hidden: int = Shape.hidden,
    questions: int | None = None,
    matmul_size: int = MATMUL_SIZE,
    out: Path = Path("runs/bench/gpu.json"),
) -> None:
    """Run the job; print the seconds of its parts, the share of the card's peak in scoring, and the peak of memory."""
    where, precision = torch.device(device), getattr(torch, dtype)
    shape = Shape(layers, hidden, *((Shape.heads, Shape.intermediate) if hidden == Shape.hidden else (4, 2 * hidden)))
    lm, seconds = build(shape, where, precision), dict[str, float]()
    peak = matmul_flops(where, precision, matmul_size)
    folds, operations = ((0, 1) if data_dir else (0,)), 0.0
    for fold in folds:
        name = "truthfulqa" if data_dir else "misconceptions"
        task = load_task(TaskConfig(name, data_dir=data_dir, fold=fold, num_train=questions, num_test=questions))
        operations += scoring_flops(lm, task)
        run_fold(lm, task, seconds)
    told = {
        "device": torch.cuda.get_device_name() if where.type == "cuda" else device,
        "dtype": dtype,
        "weights": sum(weight.numel() for weight in lm.model.parameters()),
        "folds": len(folds),
        "seconds": seconds,
        "whole_job": sum(seconds.values()),
        "matmul_tflops": peak / 1e12,
        "share_of_peak_in_scoring": operations / seconds["measure the base model"] / peak,
        "peak_memory_gb": torch.cuda.max_memory_allocated() / 1e9 if where.type == "cuda" else None,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    typer.echo(json.dumps(told, indent=2))


if __name__ == "__main__":
    typer.run(main)
