"""`model.tp=auto`: each process has a part of every layer; what is learnt and measured is what one process does."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from several_processes import run_together
from stage_runs import manifest
from tiny_models import build_model, build_tokenizer

TRAINING = ("trainer.num_epochs=2", "trainer.batch_size=4", "trainer.learning_rate=1e-2")
MAKING = {
    "lofit": ("train-offsets", "head_mask=heads.json", *TRAINING),
    "scale": ("select-heads", "num_heads=3", *TRAINING),
    "loreft": ("train-offsets", "method=loreft", *TRAINING),
    "iti": ("train-offsets", "method=iti", "head_mask=heads.json"),
    "caa": ("train-offsets", "method=caa"),
    "poft": (
        "train-offsets",
        "head_mask=heads.json",
        "task=svamp",
        "task.data_dir=sample",
        "trainer.poft=[other]",
        *TRAINING,
    ),
    "probe": ("select-heads", "selector=probe", "num_heads=3"),
}


@pytest.fixture
def run_both(lofit, model_dir):
    """Run a stage in one process and, with a split model, in two; return both run directories."""
    Path("heads.json").write_text("[[0, 0], [0, 1], [1, 2], [2, 3]]")
    build_model("gpt2").save_pretrained("other")
    build_tokenizer().save_pretrained("other")
    common = ("model=hub", f"model.id={model_dir}", "model.dtype=float32", "task=truthfulqa", "task.data_dir=data")

    def both(stage, *settings):
        for place, count, split in (("one", 1, ()), ("split", 2, ("model.tp=auto",))):
            words = [stage, *common, *settings, *split, f"runs_dir={place}", f"hydra.run.dir={place}/{stage}"]
            for ended in run_together(words, count):
                assert ended.exit_code == 0, ended.said
        return Path("one", stage), Path("split", stage)

    return both


@pytest.mark.parametrize("name", MAKING)
def test_a_split_model_is_edited_as_a_whole_one(run_both, name):
    one, split = run_both(*MAKING[name])
    file = "head_mask.safetensors" if name in ("scale", "probe") else "intervention.safetensors"
    expected, found = load_file(one / file), load_file(split / file)
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-4, atol=2e-5)
    assert manifest(one)["model_hash"] == manifest(split)["model_hash"]
    assert manifest(split)["num_processes"] == 2


def test_a_split_model_scores_and_generates_as_a_whole_one(run_both):
    run_both("train-offsets", "head_mask=heads.json", *TRAINING)
    for settings in ((), ("task=clutrr", "task.data_dir=sample", "task.max_new_tokens=3")):
        one, split = run_both("evaluate", "intervention=one/train-offsets", *settings)
        expected, found = (pq.read_table(folder / "predictions.parquet").to_pylist() for folder in (one, split))
        for a, b in zip(expected, found, strict=True):
            assert a.pop("log_probs", []) == pytest.approx(b.pop("log_probs", []), abs=1e-4)
            assert a == {key: pytest.approx(value) if isinstance(value, float) else value for key, value in b.items()}
        (one / "manifest.json").unlink()
        (split / "manifest.json").unlink()


@pytest.mark.parametrize(
    ("settings", "count", "told"),
    [
        (
            ("method=lora",),
            2,
            "method=lora is not for model.tp=auto; leave that out, or choose of bipo, caa, file, icl, iti",
        ),
        (("head_mask=heads.json",), 1, "model.tp=auto splits the model over processes; start several of them"),
        (("head_mask=heads.json", "model.quantization=int8"), 2, "model.quantization=int8 is not for model.tp=auto"),
        (("head_mask=heads.json",), 3, "which 3 processes can't share evenly; start another number"),
        (
            ("head_mask=heads.json", "model.id=gpt2"),
            2,
            "is not for models of type 'gpt2', which transformers has",
        ),
    ],
    ids=["method", "one process", "quantised", "odd", "family"],
)
def test_what_a_split_model_can_not_be_is_refused(lofit, model_dir, settings, count, told):
    Path("heads.json").write_text("[[0, 0]]")
    words = ["train-offsets", "model=hub", f"model.id={model_dir}", "model.tp=auto", "task=truthfulqa"]
    build_model("gpt2").save_pretrained("gpt2")
    build_tokenizer().save_pretrained("gpt2")
    ended = run_together([*words, "task.data_dir=data", *settings], count)
    refused = [process for process in ended if process.exit_code == 2]
    assert refused
    assert any(told in process.said for process in refused), refused
    assert all(told in process.said or not process.said for process in refused)
