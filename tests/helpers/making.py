"""Running any method on a tiny model and a small task."""

import torch
from manifests import FACTS
from safetensors.torch import save_file

from lofit_cli.artifacts.head_mask import select_top
from lofit_cli.artifacts.run_dir import start_run
from lofit_cli.methods import get_method
from lofit_cli.models.weights import describe_model
from lofit_cli.schema.components import MethodConfig, TrainerConfig
from lofit_cli.schema.methods import METHOD_CONFIGS
from lofit_cli.schema.sources import ModelConfig, TaskConfig
from lofit_cli.schema.stages import TrainOffsetsConfig
from lofit_cli.tasks.forms.truthfulqa import Question, TruthfulQATask

ADAPTERS = {
    "lora": {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "lora_dropout": 0.0, "target_modules": "all-linear"},
    "peft": {"peft_type": "IA3", "target_modules": "all-linear", "feedforward_modules": []},
}

REFUSED = {"prefix": ("phi3", "gpt2", "gpt_neox")}
"""Method -> the families that it can't run in."""
BUILT_ON_LOFIT = ("random_offset", "proxy")


def make_task():
    def question(split, i):
        return Question(f"{split}{i}", "", f"Which {split} {i}?", f"a{i}", (f"a{i}", "a"), (f"b{i}", "c"))

    sizes = {"train": 4, "validation": 3, "test": 2}
    return TruthfulQATask(TaskConfig("t"), {s: [question(s, i) for i in range(n)] for s, n in sizes.items()})


def make_config(name, folder, rate=0.05, **settings):
    if name in ADAPTERS:
        settings.setdefault("config", ADAPTERS[name])
    if name == "icl" and "text" not in settings:
        settings.setdefault("num_examples", 2)
    if name in BUILT_ON_LOFIT:
        settings.setdefault("source", str(folder / "lofit"))
    if name == "file":
        settings.setdefault("source", str(folder / "vectors.safetensors"))
    if name == "sea":
        settings.setdefault("share", 0.6)
    if name in ("prefix", "prompt"):
        settings.setdefault("num_vectors", 3)
    method = METHOD_CONFIGS.get(name, MethodConfig)(name, **settings)
    return training_config(TrainerConfig(learning_rate=rate, num_epochs=1, batch_size=4), method)


def training_config(trainer, method=None, seed=42):
    return TrainOffsetsConfig(ModelConfig("m"), TaskConfig("t"), method or MethodConfig("m"), trainer, seed=seed)


def make(name, lm, folder, **settings):
    """Run a method into `folder / name`, with two heads where it takes some, and return its intervention."""
    if name in BUILT_ON_LOFIT and "source" not in settings:
        make("lofit", lm, folder)
    if name == "file" and "source" not in settings:
        vector = torch.randn(lm.hidden_size, generator=torch.Generator().manual_seed(0))
        save_file({"layer.1.vector": vector}, folder / "vectors.safetensors")
    config = make_config(name, folder, **settings)
    method = get_method(config.method)
    scores = torch.rand(lm.geometry.num_layers, lm.geometry.max_heads, generator=torch.Generator().manual_seed(0))
    every_head = lm.geometry.every_head()
    mask = select_top(scores.masked_fill(~every_head, -torch.inf), 2) if method.takes_heads else every_head
    torch.manual_seed(0)
    with start_run(folder / name, "train_offsets", config) as run:
        edit = method.make(lm, make_task(), config, mask, run)
        made = {"method": name, "selector": "t", "num_heads": 2}
        run.record(**FACTS["train_offsets"] | run.facts | describe_model(lm) | made)
        edit.save(run.path, lm)
    return edit
