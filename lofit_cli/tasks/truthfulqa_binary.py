"""TruthfulQA (Lin et al. 2022) with two answers a question, as its authors advise since 2025."""

from lofit_cli.errors import UserError
from lofit_cli.schema.sources import TaskConfig
from lofit_cli.tasks.forms.truthfulqa import BinaryTask, Question
from lofit_cli.tasks.records import Record
from lofit_cli.tasks.truthfulqa import WHOLE_FILE, make_question, read_folder

BEST_INCORRECT = "Best Incorrect Answer"
"""The column that TruthfulQA's authors added to their CSV file in 2025, for a version with two answers a question."""

BINARY_COLUMNS = ("Category", "Question", "Best Answer", BEST_INCORRECT)


def load_truthfulqa_binary(config: TaskConfig) -> BinaryTask:
    """Return a fold of TruthfulQA with two answers a question: the best one and the best incorrect one."""
    if not config.data_dir:
        raise UserError(
            f"task.data_dir must be set for task 'truthfulqa_binary': a folder with {WHOLE_FILE} of "
            f"github.com/sylinrl/TruthfulQA, which has the column '{BEST_INCORRECT}'; the Hub's version lacks it"
        )
    return BinaryTask(config, read_folder(config, BINARY_COLUMNS, _two_answers))


def _two_answers(record: Record, question_id: str) -> Question:
    best, incorrect = map(record.text, BINARY_COLUMNS[2:])
    return make_question(record, question_id, BINARY_COLUMNS, [best], [incorrect])
