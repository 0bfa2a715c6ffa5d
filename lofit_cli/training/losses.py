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


def reps_loss(log_probs: Tensor, reference: Tensor, lengths: Tensor, num_chosen: int, sign: int) -> Tensor:
    """Return RePS's loss of one prompt: the mean over its pairs of an answer to win and one to lose.

    Args:
        log_probs: (..., num_answers) summed log-probabilities, the chosen answers first.
        reference: (num_answers,) the same under the model without any edit: what was unlikely there counts for more.
        lengths: (num_answers,) tokens of each answer.
        num_chosen: how many of the answers are chosen ones.
        sign: 1 where chosen answers are to win, -1 where they are to lose.

    Source: RePS (arXiv 2505.20809), as AxBench's code computes it ("scaled SimPO").
    """
    chosen, rejected = slice(None, num_chosen), slice(num_chosen, None)
    wins, loses = (chosen, rejected) if sign > 0 else (rejected, chosen)
    weight = (reference[loses] - reference[wins, None]).clamp(min=1)
    won, lost = log_probs[..., wins] / lengths[wins], log_probs[..., loses] / lengths[loses]
    return -logsigmoid(weight * won[..., :, None] - lost[..., None, :]).mean(dim=(-2, -1))


def poft_loss(log_probs: Tensor, others: Tensor, lengths: Tensor) -> Tensor:
    """Return PoFT's loss of one prompt's answers: each counts less, the less likely other models find it.

    Args:
        log_probs: (..., num_answers) summed log-probabilities of the chosen answers.
        others: (num_answers,) what other models have for the mean log-probability of a token.
        lengths: (num_answers,) tokens of each answer.

    Source: PoFT (arXiv 2412.12865), equation 6, with beta 1 and gamma 0 as in its code.
    """
    return -logsigmoid(log_probs / lengths - others).sum(dim=-1)
