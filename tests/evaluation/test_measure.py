"""Measuring asks the task for its prompts, answers and rows, and names the item that a model can't take."""

import os
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from lofit_data import write_truthfulqa
from making import make_task
from tiny_models import build_language_model, build_model, build_tokenizer

from lofit_cli.artifacts.outcomes import Outcomes
from lofit_cli.artifacts.predictions import GeneratedAnswer, LogProb, Prediction, ScoredAnswers
from lofit_cli.errors import UserError
from lofit_cli.evaluation import base_model
from lofit_cli.evaluation.judge import add_verdicts
from lofit_cli.evaluation.measure import mean_metrics, measure_split, require_fit
from lofit_cli.models.logprobs import score_answers
from lofit_cli.prompts import ask
from lofit_cli.schema.sources import TaskConfig
from lofit_cli.tasks import TASKS, load_task
from lofit_cli.tasks.task import Example, Item, Task

SHARED = Path(os.environ.get("LOFIT_SHARED", "../shared")).resolve()
LONG = "Is this very long passage about mosses true? " * 80
HEADER = "Type,Category,Question,Best Answer,Correct Answers,Incorrect Answers,Source\n"


@dataclass(frozen=True)
class _Parity(Task[Item]):
    """A form that the program has never heard of: is a number even?"""

    objective = "sft"
    generates = False

    @property
    def metrics(self) -> tuple[str, ...]:
        return ("margin",)

    def examples(self, split: str) -> list[Example]:
        return [Example(item.prompt, self.answers(item), 1) for item in self.items(split)]

    def answers(self, item: Item) -> tuple[str, ...]:
        return (" even", " odd", " neither")

    def predict(self, item: Item, outcome: list[float]) -> Prediction:
        return Prediction(item.id, item.category, item.text, {"margin": outcome[0] - outcome[1]})


@dataclass(frozen=True)
class _Echo(_Parity):
    """The same, answered in the model's own words."""

    generates = True

    def predict(self, item: Item, outcome: str) -> Prediction:
        return Prediction(item.id, item.category, outcome, {"margin": 0.0})


ITEMS = [Item(str(i), "numbers", f"Is {i} even?") for i in range(4)]


def test_a_task_of_any_form_is_measured_by_its_own_answers():
    lm = build_language_model("llama")
    task = _Parity(TaskConfig("parity"), {"test": ITEMS})
    done: list[int] = []
    rows = measure_split(lm, task, "test", "iti", done.append, ask("Shown. "))
    scores = score_answers(lm, [(f"Shown. {item.text}", (" even", " odd", " neither")) for item in ITEMS])
    assert [row.metrics["margin"] for row in rows] == pytest.approx([even - odd for even, odd, _ in scores])
    assert sum(done) == len(ITEMS)
    assert mean_metrics(rows)["margin"] == pytest.approx(sum(row.metrics["margin"] for row in rows) / 4)


def test_a_task_of_any_form_is_measured_by_what_is_generated():
    lm = build_language_model("llama", max_row_tokens=3000)
    task = _Echo(TaskConfig("echo", max_new_tokens=3), {"test": ITEMS})
    assert all("\n" not in row.question for row in measure_split(lm, task, "test", "iti"))


@pytest.mark.parametrize("name", sorted(set(TASKS) - {"hub"}))
def test_every_task_answers_for_itself(name):
    task = load_task(TaskConfig(name, data_dir="sample"))
    item = task.items("test")[0]
    prompt, plain = task.prompt(item, "iti", ask("Shown before. ")), task.prompt(item, "iti")
    assert "Shown before. " in prompt.text
    assert prompt.text.replace("Shown before. ", "") == plain.text
    assert [turn for turn in prompt.turns if turn.content != "Shown before."] == [*plain.turns]
    assert len(prompt.turns) == len(plain.turns) + 1
    if task.generates:
        row = task.predict(item, "Something")
        assert isinstance(row, GeneratedAnswer)
        assert row.accepted
        with pytest.raises(NotImplementedError):
            task.answers(item)
    else:
        answers = task.answers(item)
        row = task.predict(item, [LogProb(-float(i + 1), 3) for i in range(len(answers))])
        assert isinstance(row, ScoredAnswers)
        assert row.answers == [answer.strip() for answer in answers]
        assert len(row.correct) == len(row.log_probs) == len(answers)
        assert set(row.correct) == ({True, False} if len(answers) > 1 else {True})
    assert tuple(row.metrics) == task.metrics


def _data_with_a_long_question(folder, split):
    write_truthfulqa(folder)
    rows = f"A,C,Short one?,No,No,Yes,us\nA,C,{LONG},No,No,Yes,us\nA,C,Another?,No,No,Yes,us\n"
    (folder / f"fold_0_{split}_seed_42.csv").write_text(HEADER + rows)
    return folder


@pytest.fixture(scope="module")
def short_model(tmp_path_factory):
    """A folder with a model that has positions for 1,000 tokens."""
    folder = tmp_path_factory.mktemp("short")
    build_model("gpt2", n_positions=1000).save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("stage", "split", "overrides"),
    [
        ("evaluate", "test", ("intervention=none",)),
        ("evaluate", "test", ("intervention=none", "task=truthfulqa_generation")),
        ("train-offsets", "train", ("method=bitfit",)),
        ("train-offsets", "val", ("method=bitfit",)),
        ("train-offsets", "train", ("method=caa",)),
        ("select-heads", "val", ("selector=probe", "num_heads=2")),
        ("select-heads", "train", ("selector=scale", "num_heads=2")),
    ],
)
def test_a_question_longer_than_the_model_is_named(lofit, short_model, stage, split, overrides):
    _data_with_a_long_question(Path("data"), split)
    result = lofit(stage, f"model.id={short_model}", *overrides)
    assert result.exit_code == 2
    said = " ".join(result.stderr.split())
    name = f"question fold_0_{split}_seed_42-1 ('Is this very long passage about mosses true? Is this very lo…') has "
    assert name in said
    assert re.search(r"has 3\d\d\d|has 4\d\d\d", said)
    assert "has positions for 1000 tokens; shorten it, leave it out, or choose another" in said


def test_validation_that_fits_training_only_is_refused_before_training(lofit, model_dir, tmp_path):
    build_model("gpt2", n_positions=200).save_pretrained(tmp_path / "tiny")
    build_tokenizer().save_pretrained(tmp_path / "tiny")
    result = lofit("train-offsets", f"model.id={tmp_path / 'tiny'}", "method=bitfit", "hydra.run.dir=runs/a")
    assert result.exit_code == 2
    assert "(2 more are too long as well)" in result.stderr.replace("\n", " ")
    assert not Path("runs/a/history.jsonl").exists()


def test_the_longest_of_several_is_named():
    lm = build_language_model("gpt2", n_positions=64)
    texts = ["short?", LONG[:200], LONG[:400], "short?"]
    task = _Parity(TaskConfig("parity"), {"test": [Item(f"q{i}", "c", text) for i, text in enumerate(texts)]})
    for measure in (lambda: measure_split(lm, task, "test", "iti"), lambda: require_fit(lm, task, "test", "iti")):
        with pytest.raises(UserError, match=r"question q2 \('Is this.*…'\) has \d+ tokens.*\(1 more are too long"):
            measure()


def test_an_answer_that_is_too_long_for_a_judge_is_named():
    judge = build_language_model("gpt2", n_positions=64)
    answered = [GeneratedAnswer(f"q{i}", "c", "Is it?", {}, ["No"], text) for i, text in enumerate(("No", LONG))]
    with pytest.raises(UserError, match=r"question q1 \('Is it\?'\) has \d+ tokens"):
        add_verdicts(judge, "true", answered)


def test_an_item_without_a_name_is_counted():
    lm = build_language_model("gpt2", n_positions=64)
    with pytest.raises(UserError, match=r"^item 2 has \d+ tokens"):
        score_answers(lm, [("Is it?", (" No",)), (LONG, (" No",))])


def test_an_answer_without_a_token_is_named():
    lm = build_language_model("llama")

    @dataclass(frozen=True)
    class Silent(_Parity):
        def answers(self, item: Item) -> tuple[str, ...]:
            return ("" if item.id == "2" else " yes", " no")

    with pytest.raises(UserError, match=r"question 2 \('Is 2 even\?'\) has no token in its answer"):
        measure_split(lm, Silent(TaskConfig("silent"), {"test": ITEMS}), "test", "iti")


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the trials' files")
def test_the_long_question_of_the_trials_is_named(lofit, short_model):
    shutil.copy(SHARED / "trials" / "csv_long_question_test.csv", "data/fold_0_test_seed_42.csv")
    result = lofit("evaluate", f"model.id={short_model}", "intervention=none")
    assert "question fold_0_test_seed_42-1 ('Is this very long passage" in result.stderr.replace("\n", " ")


@pytest.mark.parametrize("protocol", ["iti", "urial"])
def test_what_is_remembered_is_keyed_by_the_tokens_that_are_scored(protocol, monkeypatch):
    lm, task, keys = replace(build_language_model("llama"), remembers=True), make_task(), []
    monkeypatch.setattr(base_model, "remembered", lambda lm, kind, asked, compute: keys.append(asked) or compute())
    known = Outcomes()
    base_model.measure_base_model(lm, task, "test", protocol, lambda num_items: None, known)
    scored = [[value.num_tokens for value in known.known[number]] for number in range(2)]
    assert [[len(s.tokens) - s.start for s in sequences] for sequences in keys[0]] == scored
