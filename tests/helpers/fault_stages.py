"""The stages that faults are tried on, and what they leave."""

import re

from stage_runs import lines

STAGES = {
    "scale": ("select-heads", "selector=scale", "num_heads=3"),
    "lofit": ("train-offsets", "head_mask=heads.json", "trainer.keep=best"),
    "lora": ("train-offsets", "method=lora", "method.config.lora_dropout=0.5"),
    "full": ("train-offsets", "method=full", "trainer.learning_rate=1e-3"),
    "caa": ("train-offsets", "method=caa"),
    "answers": ("evaluate", "intervention=runs/made", "model.max_row_tokens=64"),
    "texts": ("evaluate", "intervention=none", "task=clutrr", "task.data_dir=sample", "task.max_new_tokens=3"),
    "table": ("compare", "runs=[runs/a,runs/b]", "num_resamples=100"),
}
TRAINED = ("trainer.num_epochs=3", "trainer.batch_size=4", "trainer.checkpoint_every=1")
TIMED = ("manifest.json", "history.jsonl", ".lock")
"""Files that state how long something took, and the lock, which is empty."""
WRITTEN_AT = re.compile(rb"written [-0-9]+ [0-9:]+ UTC")
"""What a report says of the minute it was written in."""
PICTURES = ".png"


def command_of(name, model_dir, place):
    """Return the command line of a stage that writes into a folder of this name under `runs`."""
    stage, *settings = STAGES[name]
    model = ("model=hub", f"model.id={model_dir}", "model.dtype=float32", "task=truthfulqa", "task.data_dir=data")
    training = TRAINED if stage in ("select-heads", "train-offsets") else ()
    folders = (f"runs_dir=runs/{place}", f"hydra.run.dir=runs/{place}/x")
    return [stage, *(model if stage != "compare" else ()), *training, *settings, *folders]


def content(folder):
    """Return every file that must be the same, and what the history says besides its speeds."""
    files = [path for path in folder.rglob("*") if path.is_file() and ".hydra" not in path.parts]
    steps = lines(folder / "history.jsonl") if (folder / "history.jsonl").exists() else []
    history = [{key: value for key, value in step.items() if key != "tokens_per_second"} for step in steps]
    return {path.name: WRITTEN_AT.sub(b"", path.read_bytes()) for path in files if path.name not in TIMED}, history
