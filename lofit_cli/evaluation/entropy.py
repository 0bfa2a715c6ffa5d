"""How much a model is in doubt about what follows a prompt."""

from typing import Any

import torch

from lofit_cli.errors import UserError, naming_items
from lofit_cli.models.decoder import Decoder
from lofit_cli.models.kept_logits import keep_logits
from lofit_cli.prompts import as_prompt
from lofit_cli.tasks.task import Task


def mean_entropy(lm: Decoder, task: Task[Any], split: str, protocol: str) -> dict[str, float]:
    """Return minus the mean entropy, in nats, of the token that follows each prompt of a split; no answer is looked at.

    Source: ZeroTuning (arXiv 2505.11739), whose unsupervised choice takes the factor with the least entropy.
    """
    if task.scores_whole_texts:
        raise UserError(f"task '{task.name}' has no prompts whose next token could be in doubt; choose by the metric")
    items, found = task.items(split), []
    with naming_items([item.name for item in items]):
        texts = lm.encode([lm.prompt_text(as_prompt(task.prompt(item, protocol))) for item in items])
    for text in texts:
        tokens = torch.tensor([text.tokens], device=lm.device)
        with torch.inference_mode(), lm.token_positions.padded([len(text.tokens)], tokens):
            logits = lm.model(input_ids=tokens, use_cache=False, **keep_logits(lm.model, 1)).logits[0, -1]
        log_probs = lm.require_finite(logits.float()).log_softmax(dim=-1)
        found.append(float((log_probs.exp() * log_probs).sum()))
    return {"negative_entropy": sum(found) / len(found)}
