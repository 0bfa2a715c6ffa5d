"""TruthfulQA fold 0 under the embedded model, against the figures of the authors' own scorer."""

import csv
import os
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from lofit_cli.analysis.statistics import summarise
from lofit_cli.evaluation.measure import measure_split
from lofit_cli.models.embedded import embedded_model_dir
from lofit_cli.models.encoding import encode, first_tokens
from lofit_cli.models.load import load_model
from lofit_cli.schema.sources import ModelConfig, TaskConfig
from lofit_cli.tasks import load_task

SHARED = Path(os.environ.get("LOFIT_SHARED", "../shared")).resolve()
GOLDEN = SHARED / "reference" / "golden" / "truthfulqa_fold0_smollm2_fp32.csv"


@pytest.mark.skipif(not GOLDEN.exists(), reason="needs the golden file and the released TruthfulQA files")
def test_every_answer_scores_as_in_the_authors_code():
    task = load_task(TaskConfig("truthfulqa", data_dir=str(SHARED / "data" / "truthfulqa")))
    scored = measure_split(load_model(ModelConfig("smollm2")), task, "test", "iti")
    means = {name: summarise([s.metrics[name] for s in scored]).mean for name in ("mc1", "mc2", "mc3")}
    assert means == pytest.approx({"mc1": 0.2396, "mc2": 0.4474, "mc3": 0.2093}, abs=5e-4)
    found = {}
    for index, question in enumerate(scored):
        num_correct = sum(question.correct)
        for i, value in enumerate(question.log_probs):
            kind = ("correct", i) if i < num_correct else ("incorrect", i - num_correct)
            found[(str(index), kind[0], str(kind[1]))] = value
    with GOLDEN.open(newline="") as lines:
        rows = {
            (r["question_index"], r["kind"], r["answer_index"]): float(r["log_prob"]) for r in csv.DictReader(lines)
        }
    assert found.keys() == rows.keys()
    assert max(abs(found[key] - value) for key, value in rows.items()) < 2e-3


@pytest.mark.skipif(not GOLDEN.exists(), reason="needs the golden file and the released TruthfulQA files")
def test_golden_prompts_have_the_tokens_that_their_tokenizer_gives_them():
    tokenizer = AutoTokenizer.from_pretrained(embedded_model_dir("smollm2"))
    task = load_task(TaskConfig("truthfulqa", data_dir=str(SHARED / "data" / "truthfulqa")))
    texts = [task.prompt(item, "iti").text + answer for item in task.items("test") for answer in task.answers(item)]
    own = tokenizer(texts, return_offsets_mapping=True)
    found = encode(tokenizer, texts, first_tokens(tokenizer, "auto"), {tokenizer.eos_token_id})
    assert [text.tokens for text in found] == own["input_ids"]
    assert [text.ends for text in found] == [[end for _, end in spans] for spans in own["offset_mapping"]]
