"""What training minimises, as functions of answer log-probabilities."""

from torch import Tensor
from torch.nn.functional import logsigmoid


def dpo_loss(log_probs: Tensor, reference: Tensor, num_chosen: int, beta: float) -> Tensor:
    """Return the DPO loss of one prompt: the mean over its pairs of a chosen and a rejected answer.

    Args:
        log_probs: (..., num_answers) summed log-probabilities, the chosen answers first.
        reference: (num_answers,) the same under the model without any edit.
        num_chosen: how many of the answers are chosen ones.
        beta: how far the model may leave the reference.

    Source: Rafailov et al. 2023 (arXiv 2305.18290), equation 7.
    """
    gain = log_probs - reference
    margins = gain[..., :num_chosen, None] - gain[..., None, num_chosen:]
    return -logsigmoid(beta * margins).mean(dim=(-2, -1))


def sft_loss(log_probs: Tensor) -> Tensor:
    """Return the cross-entropy of one prompt's answers, summed over their tokens (the prompt's do not count).

    Args:
        log_probs: (..., num_answers) summed log-probabilities of the chosen answers.
    """
    return -log_probs.sum(dim=-1)
