"""What a model makes of right and wrong answers, for methods and selectors that fit a statistic to it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.artifacts.seen_items import add_seen
from lofit_cli.console import progress_bar
from lofit_cli.errors import naming_items
from lofit_cli.models.activations import last_token_activations, last_token_hidden_states
from lofit_cli.models.decoder import Decoder
from lofit_cli.models.logprobs import tokenize_items
from lofit_cli.models.packing import TokenSequence
from lofit_cli.models.remembered import remembered
from lofit_cli.tasks.task import Example, Task

PROBE_ITERATIONS = 1000
"""As in ITI's code (Li et al. 2023, arXiv 2306.03341)."""

Labelled = tuple[Tensor, Tensor]
"""Activations (num_answers, num_layers, max_heads, head_dim), and whether each answer is right (num_answers,)."""


def labelled_activations(lm: Decoder, task: Task[Any], split: str, run: RunDir, last_tokens: int = 1) -> Labelled:
    """Return every head's activation at the end of each prompt with an answer; list the items as seen.

    Args:
        last_tokens: of the answer, the mean over which is taken; over all where it has fewer.
    """
    contrasts, sequences = _sequences(lm, task, split, run)
    right = [i < contrast.num_chosen for contrast in contrasts for i in range(len(contrast.answers))]
    return _activations(lm, split, sequences, last_tokens), torch.tensor(right)


def head_differences(lm: Decoder, task: Task[Any], split: str, run: RunDir) -> Tensor:
    """Return how right answers differ from wrong ones in the head activations, item by item; list the items as seen.

    Returns:
        (num_items, num_layers, max_heads, head_dim): the mean over an item's right answers minus that over its wrong
        ones, at the answer's last token.
    """
    contrasts, sequences = _sequences(lm, task, split, run)
    return _differences(contrasts, _activations(lm, split, sequences, 1))


def _activations(lm: Decoder, split: str, sequences: list[TokenSequence], last_tokens: int) -> Tensor:
    read = partial(last_token_activations, num_last=last_tokens)
    kind = "activations" if last_tokens == 1 else f"activations of {last_tokens}"
    return _read_once(lm, kind, f"head activations, {split}", sequences, read)


def answer_differences(lm: Decoder, task: Task[Any], split: str, run: RunDir) -> Tensor:
    """Return how right answers differ from wrong ones in the residual stream, item by item; list the items as seen.

    Returns:
        (num_items, num_layers, hidden): the mean over an item's right answers minus that over its wrong ones, of the
        hidden state at the answer's last token.
    """
    contrasts, sequences = _sequences(lm, task, split, run)
    states = _read_once(lm, "hidden_states", f"hidden states, {split}", sequences, last_token_hidden_states)
    return _differences(contrasts, states)


def _differences(contrasts: list[Example], values: Tensor) -> Tensor:
    """Return (num_items, ...), the mean over right answers minus that over wrong ones, of values of each answer."""
    parts = values.split([len(contrast.answers) for contrast in contrasts])
    return torch.stack(
        [
            part[: contrast.num_chosen].mean(dim=0) - part[contrast.num_chosen :].mean(dim=0)
            for contrast, part in zip(contrasts, parts, strict=True)
        ]
    )


def _sequences(lm: Decoder, task: Task[Any], split: str, run: RunDir) -> tuple[list[Example], list[TokenSequence]]:
    add_seen(run.path, (item.fingerprint for item in task.items(split)))
    contrasts = task.contrasts(split)
    with naming_items([item.name for item in task.items(split)]):
        tokenized = tokenize_items(lm, [(contrast.prompt, contrast.answers) for contrast in contrasts])
    return contrasts, [sequence for item in tokenized for sequence in item]


def _read_once(
    lm: Decoder, kind: str, title: str, sequences: list[TokenSequence], read: Callable[..., Tensor]
) -> Tensor:
    """Return what is read of the model at the last token of each sequence, which an earlier run may have kept."""

    def compute() -> dict[str, Tensor]:
        with progress_bar(title, len(sequences)) as advance:
            return {"values": read(lm, sequences, advance)}

    return remembered(lm, kind, [[sequence] for sequence in sequences], compute)["values"]


def head_step(activations: Tensor, is_right: Tensor, direction: str) -> Tensor:
    """Return sigma * theta of one head: (head_dim,).

    Args:
        activations: (num_answers, head_dim) at each answer's last token.
        is_right: (num_answers,) bool.
        direction: `mass_mean` or `probe`.

    Source: ITI (arXiv 2306.03341), section 3.2.
    """
    if direction == "probe":
        probe = LogisticRegression(max_iter=PROBE_ITERATIONS).fit(activations.numpy(), is_right.numpy())
        theta = torch.from_numpy(probe.coef_[0]).float()
    else:
        theta = activations[is_right].mean(dim=0) - activations[~is_right].mean(dim=0)
    # A head whose activations are all the same has no direction, and is not moved.
    theta = torch.nn.functional.normalize(theta, dim=0)
    step: Tensor = theta * (activations @ theta).std(unbiased=False)
    return step
