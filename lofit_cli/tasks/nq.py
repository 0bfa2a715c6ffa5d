"""Natural Questions with a false answer beside each true one: ITI's test of other knowledge."""

from lofit_cli.schema.sources import TaskConfig
from lofit_cli.tasks.forms.multiple_choice import MultipleChoiceTask
from lofit_cli.tasks.triviaqa import load_false_answers


def load_nq(config: TaskConfig) -> MultipleChoiceTask:
    """Return Natural Questions' validation questions, each with a false answer that ITI's authors had generated."""
    return load_false_answers(config, "OamPatel/iti_nq_open_val")
