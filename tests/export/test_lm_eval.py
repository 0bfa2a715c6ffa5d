"""lm-evaluation-harness measures of an export what lofit measures of the edited base."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from stage_runs import FAST, ok

from lofit_cli.exports import load_and_run, proof

pytestmark = pytest.mark.slow
METRICS = ("mc1", "mc2")


@pytest.fixture
def harness(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(Path("cache").resolve()))
    return pytest.importorskip("lm_eval")


def _targets(right, wrong):
    return {"choices": [*right, *wrong], "labels": [1] * len(right) + [0] * len(wrong)}


def _write_tasks(harness, folder, rows):
    """Write the harness's own two tasks on other questions: those of a lofit run, with the answers that it scored."""
    docs = []
    for row in rows:
        right = [answer for answer, correct in zip(row["answers"], row["correct"], strict=True) if correct]
        wrong = [answer for answer in row["answers"] if answer not in right]
        docs.append({"question": row["question"], "mc1_targets": _targets(right[:1], wrong)})
        docs[-1]["mc2_targets"] = _targets(right, wrong)
    pq.write_table(pa.Table.from_pylist(docs), folder / "questions.parquet")
    own = Path(harness.__file__).parent / "tasks" / "truthfulqa"
    for metric in METRICS:
        task = {
            "include": str(own / f"truthfulqa_{metric}.yaml"),
            "task": f"local_{metric}",
            "tag": "local",
            "dataset_path": "parquet",
            "dataset_name": None,
            "dataset_kwargs": {"data_files": {"validation": str(folder / "questions.parquet")}},
        }
        (folder / f"local_{metric}.yaml").write_text(yaml.safe_dump(task))


def test_the_harness_measures_what_lofit_measures_of_the_edited_base(lofit, harness, monkeypatch, tmp_path):
    monkeypatch.setattr(proof, "start_process", load_and_run.main)
    Path("heads.json").write_text("[[0, 1], [1, 0], [2, 3]]")
    ok(lofit("train-offsets", "head_mask=heads.json", "trainer.learning_rate=0.3", *FAST, "hydra.run.dir=runs/made"))
    ok(lofit("evaluate", "intervention=runs/made", "eval.protocol=lm_eval", "hydra.run.dir=runs/edited"))
    ok(lofit("export", "intervention=runs/made", "to=hf", "out=out"))
    rows = pq.read_table("runs/edited/predictions.parquet").to_pylist()
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    _write_tasks(harness, tasks, rows)
    found = harness.simple_evaluate(
        model="hf",
        model_args={"pretrained": str(Path("out").resolve()), "dtype": "float32", "device": "cpu"},
        tasks=[f"local_{metric}" for metric in METRICS],
        task_manager=harness.tasks.TaskManager(include_path=str(tasks), include_defaults=False),
        bootstrap_iters=0,
    )
    for metric in METRICS:
        samples = sorted(found["samples"][f"local_{metric}"], key=lambda sample: sample["doc_id"])
        assert [sample["acc"] for sample in samples] == pytest.approx([row[metric] for row in rows], abs=1e-4), metric
    ours = [value for row in rows for value in row["log_probs"]]
    theirs = [float(answer[0][0]) for sample in found["samples"]["local_mc2"] for answer in sample["resps"]]
    assert theirs == pytest.approx(ours, abs=1e-3)
