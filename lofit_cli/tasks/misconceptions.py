"""Our own bundled questions about common misconceptions, in TruthfulQA's form, so that everything runs offline."""

import json
from pathlib import Path

from lofit_cli.errors import UserError
from lofit_cli.schema.sources import TaskConfig
from lofit_cli.tasks.forms.truthfulqa import Question, TruthfulQATask, check_question

FILE = Path(__file__).with_name("misconceptions.jsonl")


def load_misconceptions(config: TaskConfig) -> TruthfulQATask:
    """Return the bundled questions; each line of the file names its split, which never changes."""
    if config.data_dir or config.hub_id:
        raise UserError("task.data_dir and task.hub_id are not used by task 'misconceptions'; add task=truthfulqa")
    splits: dict[str, list[Question]] = {"train": [], "validation": [], "test": []}
    for line in FILE.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        answers = tuple(row["correct_answers"]), tuple(row["incorrect_answers"])
        question = Question(row["id"], row["category"], row["question"], row["best_answer"], *answers)
        splits[row["split"]].append(check_question(question, FILE.name))
    return TruthfulQATask(config, splits)
