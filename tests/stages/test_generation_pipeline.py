"""The four stages on tasks whose answers are generated."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest


def _story(number, relation):
    story = f"[Ann{number}] met her {relation} [Bob{number}]."
    return {"id": f"s{number}", "story": story, "query": f"('Ann{number}', 'Bob{number}')", "target_text": relation}


@pytest.fixture
def clutrr(lofit):
    """Run a stage on a small CLUTRR."""
    for name, first in (("train", 0), ("val", 10), ("test", 20)):
        stories = [_story(first + i, "son" if i % 2 else "niece") for i in range(4)]
        Path("data", f"{name}.json").write_text(json.dumps(stories))

    def run(stage, *overrides):
        settings = ("task=clutrr", "task.num_train=3", "task.max_new_tokens=4") if stage != "compare" else ()
        result = lofit(stage, *settings, *overrides)
        assert result.exit_code == 0, result.output + result.stderr
        return result

    return run


def test_the_four_stages(clutrr):
    training = ("trainer.num_epochs=2", "trainer.batch_size=2")
    clutrr("select-heads", "num_heads=3", *training)
    clutrr("train-offsets", *training)
    clutrr("evaluate", "-m", "intervention=none,latest")
    assert "EM" in clutrr("compare").output
    for run_dir in Path("runs/evaluate").glob("*/"):
        if (run_dir / "manifest.json").exists():
            rows = pq.read_table(run_dir / "predictions.parquet").to_pylist()
            assert len(rows) == 4
            assert all(row["em"] == float(row["generated"].casefold() in row["accepted"]) for row in rows)
            facts = json.loads((run_dir / "manifest.json").read_text())
            assert (facts["metrics"], facts["protocol"]) == (["em"], "zero-shot, 4 tokens")


def test_training_teaches_the_answers(clutrr):
    common = ("task.num_train=4", "trainer.learning_rate=0.3", "trainer.num_epochs=60", "trainer.l1=0")
    Path("heads.json").write_text(json.dumps([[layer, head] for layer in range(3) for head in range(4)]))
    clutrr("train-offsets", "head_mask=heads.json", *common, "hydra.run.dir=runs/offsets")
    losses = [json.loads(line)["loss"] for line in Path("runs/offsets/history.jsonl").read_text().splitlines()]
    assert losses[-1] < 0.6 * losses[0]


def test_an_item_that_the_benchmark_itself_repeats_is_noted_and_measured(clutrr):
    stories = [json.loads(Path(f"data/{name}.json").read_text())[0] for name in ("train", "test")]
    Path("data/test.json").write_text(json.dumps(stories))
    Path("heads.json").write_text("[[0, 1]]")
    clutrr("train-offsets", "head_mask=heads.json", "trainer.num_epochs=1")
    assert "note: 1 of the 2 test items stand in this benchmark's training" in clutrr("evaluate").stderr


def test_runs_trained_on_more_or_fewer_items_can_be_compared(clutrr):
    Path("heads.json").write_text("[[0, 1]]")
    for size in (2, 4):
        common = (f"task.num_train={size}", "trainer.num_epochs=1")
        clutrr("train-offsets", "head_mask=heads.json", *common, f"hydra.run.dir=runs/offsets/{size}")
        clutrr("evaluate", f"intervention=runs/offsets/{size}", f"hydra.run.dir=runs/evaluate/{size}")
    clutrr("compare")
    sizes = {json.loads(file.read_text())["num_train"] for file in Path("runs/evaluate").glob("*/manifest.json")}
    assert sizes == {2, 4}
