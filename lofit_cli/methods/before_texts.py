"""What stands before every text: the tokens that it starts from, and whether items have room behind it."""

from typing import Any

import torch

from lofit_cli.errors import UserError
from lofit_cli.evaluation.measure import require_fit
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.schema.stages import TrainOffsetsConfig
from lofit_cli.tasks.task import Task
from lofit_cli.training.objective import Objective


def draw_tokens(lm: LanguageModel, task: Task[Any], num_vectors: int, generator: torch.Generator) -> list[int]:
    """Return tokens that the training prompts hold, as many as vectors are to start from.

    Raises:
        UserError: the model has no positions for so many.
    """
    if num_vectors >= lm.max_positions:
        raise UserError(
            f"method.num_vectors={num_vectors} is not allowed: model '{lm.id}' has positions for "
            f"{lm.max_positions} tokens; give 1 to {lm.max_positions - 1}"
        )
    # What is scored as a whole has no prompt.
    texts = lm.encode([lm.prompt_text(example.prompt) or example.answers[0] for example in task.examples("train")])
    tokens = sorted({token for text in texts for token in text.tokens})
    return [tokens[i] for i in torch.randint(len(tokens), (num_vectors,), generator=generator).tolist()]


def require_room(
    edit: Intervention, num_vectors: int, lm: LanguageModel, task: Task[Any], config: TrainOffsetsConfig
) -> None:
    """Refuse an item that has no room behind the vectors, before anything is computed."""
    with edit.attach(lm):
        try:
            for split in ("train", "validation"):
                Objective(lm, task, config.trainer.beta).tokenize(split)
            if not task.generates:
                # Validation asks under a longer prompt than training.
                require_fit(lm, task, "validation", config.eval.protocol)
        except UserError as error:
            raise UserError(f"method.num_vectors={num_vectors} stand before every text: {error}")
