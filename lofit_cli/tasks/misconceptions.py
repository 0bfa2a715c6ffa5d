"""Our own bundled questions about common misconceptions, in TruthfulQA's form, so that everything runs offline."""

from pathlib import Path

from lofit_cli.errors import UserError
from lofit_cli.schema.sources import TaskConfig
from lofit_cli.tasks.forms.truthfulqa import Question, TruthfulQATask, check_question
from lofit_cli.tasks.records import read_records

FILE = Path(__file__).with_name("misconceptions.jsonl")


def load_misconceptions(config: TaskConfig) -> TruthfulQATask:
    """Return the bundled questions; each line of the file names its split, which never changes."""
    if config.data_dir or config.hub_id:
        raise UserError("task.data_dir and task.hub_id are not used by task 'misconceptions'; add task=truthfulqa")
    splits: dict[str, list[Question]] = {"train": [], "validation": [], "test": []}
    for record in read_records(FILE):
        about = record.text("id"), record.text("category"), record.text("question")
        answers = record.texts("correct_answers"), record.texts("incorrect_answers")
        question = Question(*about, record.text("best_answer"), *answers)
        splits[record.text("split")].append(check_question(question, record.source))
    return TruthfulQATask(config, splits)
