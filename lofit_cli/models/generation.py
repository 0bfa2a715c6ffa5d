"""Greedy answers to prompts, in padded batches."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedTokenizerBase, StoppingCriteria, StoppingCriteriaList

from lofit_cli.models.logprobs import LanguageModel


def generate_lines(
    lm: LanguageModel,
    prompts: Sequence[str],
    max_new_tokens: int,
    report: Callable[[int], None] = lambda num_prompts: None,
) -> list[str]:
    """Return what the model says after each prompt, greedily, up to the first end of a line that has any text.

    Prompts of similar length share a batch; the result does not depend on which.

    Args:
        report: called with the number of prompts done after each batch.
    """
    lengths = [len(ids) for ids in lm.tokenizer(list(prompts))["input_ids"]]
    order = sorted(range(len(prompts)), key=lambda i: -lengths[i])
    lines = [""] * len(prompts)
    while order:
        batch_size = max(1, lm.max_row_tokens // (lengths[order[0]] + max_new_tokens))
        batch, order = order[:batch_size], order[batch_size:]
        for i, text in zip(batch, _generate(lm, [prompts[i] for i in batch], max_new_tokens), strict=True):
            lines[i] = first_line(text)
        report(len(batch))
    return lines


def first_line(text: str) -> str:
    """Return the first line that has any text, without outer white space."""
    return text.strip().split("\n")[0].strip()


def _generate(lm: LanguageModel, prompts: Sequence[str], max_new_tokens: int) -> list[str]:
    tokens, attended = _pad_left([lm.tokenizer(prompt)["input_ids"] for prompt in prompts], lm)
    end = lm.tokenizer.eos_token_id
    settings = GenerationConfig(
        do_sample=False, max_new_tokens=max_new_tokens, eos_token_id=end, pad_token_id=0 if end is None else end
    )
    line_end = StoppingCriteriaList([_LineEnd(lm.tokenizer, tokens.shape[1])])
    inputs: dict[str, Any] = {"input_ids": tokens, "attention_mask": attended}
    generate: Any = lm.model.generate
    with torch.inference_mode(), lm.places.follow(lm.model, attended):
        generated = generate(**inputs, generation_config=settings, stopping_criteria=line_end)
    texts: list[str] = lm.tokenizer.batch_decode(generated[:, tokens.shape[1] :], skip_special_tokens=True)
    return texts


def _pad_left(sequences: Sequence[list[int]], lm: LanguageModel) -> tuple[Tensor, Tensor]:
    """Return tokens and attention mask, both (batch, longest), padded on the left so that all prompts end together."""
    longest = max(len(sequence) for sequence in sequences)
    tokens = torch.zeros(len(sequences), longest, dtype=torch.long)
    attended = torch.zeros_like(tokens)
    for row, sequence in enumerate(sequences):
        tokens[row, longest - len(sequence) :] = torch.tensor(sequence)
        attended[row, longest - len(sequence) :] = 1
    return tokens.to(lm.model.device), attended.to(lm.model.device)


class _LineEnd(StoppingCriteria):
    """Ends a sequence once it has a line with text."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, prompt_length: int) -> None:
        self.tokenizer = tokenizer
        self.prompt_length = prompt_length

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: object) -> Tensor:
        texts = self.tokenizer.batch_decode(input_ids[:, self.prompt_length :])
        return torch.tensor(["\n" in text.lstrip() for text in texts], device=input_ids.device)
