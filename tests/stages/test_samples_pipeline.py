"""Every task's bundled sample runs through the stages on a tiny model, without a network."""

import json
import weakref
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lofit_cli.models.load import load_model
from lofit_cli.tasks import TASKS

TEST_ONLY = ("bbq", "mmlu", "nq", "perplexity", "triviaqa")
DERIVED = {"bbq": {"s_dis", "s_amb"}, "perplexity": {"perplexity"}, "stereoset": {"icat"}}
"""Task -> what `metrics.json` has beside the means of items."""
FAST = ("trainer.num_epochs=1", "trainer.batch_size=128")


@pytest.fixture
def sample(lofit):
    """Run a stage on a task's sample."""

    def run(stage, name, *overrides):
        # The fixture's own task settings come first; the last ones count.
        fewer = ("task.num_train=8",) if name == "kinship" else ()
        result = lofit(stage, f"task={name}", "task.data_dir=sample", "task.max_new_tokens=3", *fewer, *overrides)
        assert result.exit_code == 0, result.output + result.stderr
        return result

    return run


@pytest.mark.parametrize("name", sorted(set(TASKS) - {"hub"}))
def test_a_sample_is_trained_on_and_measured(sample, name):
    Path("heads.json").write_text("[[0, 1], [2, 3]]")
    trained = name not in TEST_ONLY
    if trained:
        sample("train-offsets", name, "head_mask=heads.json", *FAST, "hydra.run.dir=runs/offsets")
        assert len(Path("runs/offsets/history.jsonl").read_text().splitlines()) == 1
    intervention = "intervention=runs/offsets" if trained else "intervention=none"
    sample("evaluate", name, intervention, "model.max_row_tokens=4096", "hydra.run.dir=runs/x")
    rows = pq.read_table("runs/x/predictions.parquet").to_pylist()
    facts = json.loads(Path("runs/x/manifest.json").read_text())
    assert len(rows) >= 12
    assert set(facts["metrics"]) <= set(rows[0])
    assert set(json.loads(Path("runs/x/metrics.json").read_text())) == set(facts["metrics"]) | DERIVED.get(name, set())


def test_judged_answers_are_compared(sample, lofit, model_dir):
    Path("heads.json").write_text("[[0, 1], [2, 3]]")
    name, judges = "truthfulqa_generation", (f"eval.judge_true={model_dir}", f"eval.judge_info={model_dir}")
    sample("train-offsets", name, "head_mask=heads.json", *FAST)
    sample("evaluate", name, "-m", "intervention=none,latest", *judges)
    output = lofit("compare").output
    assert all(metric in output for metric in ("BLEU_ACC", "ROUGEL_DIFF", "TRUE_INFO"))
    for folder in Path("runs/evaluate").glob("*/"):
        if (folder / "manifest.json").exists():
            rows = pq.read_table(folder / "predictions.parquet").to_pylist()
            assert all(row["true_info"] == row["true"] * row["info"] for row in rows)
    sample("evaluate", name, "intervention=none", "hydra.run.dir=runs/evaluate/unjudged")
    shared = lofit("compare")
    assert shared.exit_code == 0
    assert "TRUE_INFO, which is left out" in " ".join(shared.output.split())
    Path("judge").symlink_to(model_dir)
    sample("evaluate", name, "intervention=none", "hydra.run.dir=runs/evaluate/other", "eval.judge_info=./judge")
    refused = lofit("compare")
    assert refused.exit_code == 2
    assert "evaluate both with the same eval.judge_true" in refused.stderr.replace("\n", " ")


def test_the_model_under_test_is_let_go_before_a_judge_is_loaded(sample, model_dir, monkeypatch):
    models, alive = [], []

    def load(config):
        alive.append([model() is not None for model in models])
        lm = load_model(config)
        models.append(weakref.ref(lm.model))
        return lm

    monkeypatch.setattr("lofit_cli.models.kept.load_model", load)
    for name in ("true", "info"):
        Path(name).symlink_to(model_dir)
    judges = ("eval.judge_true=./true", "eval.judge_info=./info")
    sample("evaluate", "truthfulqa_generation", "intervention=none", *judges)
    assert alive == [[], [False], [False, False]]


def test_offsets_are_measured_on_another_tasks_questions(sample):
    Path("heads.json").write_text("[[0, 1], [2, 3]]")
    sample("train-offsets", "truthfulqa", "head_mask=heads.json", *FAST, "hydra.run.dir=runs/offsets")
    sample("evaluate", "triviaqa", "intervention=runs/offsets", "hydra.run.dir=runs/x")
    facts = json.loads(Path("runs/x/manifest.json").read_text())
    assert (facts["task"], facts["method"], facts["protocol"]) == ("triviaqa", "lofit", "zero-shot")
