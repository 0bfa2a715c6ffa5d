"""What transformers computes in the plainest way: one sequence a forward pass, no cache, no mask, no padding."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel

from lofit_cli.artifacts.geometry import Geometry
from lofit_cli.interventions.head_edit import HeadEdit
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.models.packing import TokenSequence


def next_token_logprobs(plain: PreTrainedModel, sequence: TokenSequence) -> Tensor:
    """Return each answer token's log-probability after the tokens before it, one forward pass each."""
    ends = range(sequence.start, len(sequence.tokens))
    return torch.stack([_last_logprobs(plain, sequence.tokens[:end])[sequence.tokens[end]] for end in ends])


@torch.inference_mode()
def _last_logprobs(plain: PreTrainedModel, tokens: tuple[int, ...]) -> Tensor:
    return plain(input_ids=torch.tensor([tokens]), use_cache=False).logits[0, -1].float().log_softmax(dim=-1)


def random_edit(geometry: Geometry, num_heads: int) -> HeadEdit:
    """Return a scale and an offset on some heads."""
    generator = torch.Generator().manual_seed(2)
    heads = geometry.every_head().nonzero()
    mask = torch.zeros_like(geometry.every_head())
    for layer, head in heads[torch.randperm(len(heads), generator=generator)[:num_heads]]:
        mask[layer, head] = True
    shape = (int(mask.sum()), geometry.head_dim)
    values = [torch.randn(shape, generator=generator) for _ in range(2)]
    return HeadEdit(geometry, mask, *values)


@contextmanager
def edited(lm: LanguageModel, plain: PreTrainedModel, edit: HeadEdit) -> Iterator[None]:
    """Edit the copy by hooks of our own on the modules of the same names."""
    paths = {id(module): path for path, module in lm.model.named_modules()}
    running, handles = [], []
    for row, (layer, head) in enumerate(edit.heads):
        dim = lm.geometry.head_dims[layer]
        where = slice(head * dim, (head + 1) * dim)

        def enter(module, args, layer=layer):
            running[:] = [layer]

        def change(module, args, row=row, layer=layer, where=where, dim=dim):
            if running != [layer]:  # of another layer that has the same module
                return None
            values = args[0].clone()
            values[..., where] = values[..., where] * (1 + edit.scale[row, :dim]) + edit.offset[row, :dim]
            return (values, *args[1:])

        within = plain.get_submodule(paths[id(lm.layers[layer])])
        projection = plain.get_submodule(paths[id(lm.output_projections[layer])])
        handles += [within.register_forward_pre_hook(enter), projection.register_forward_pre_hook(change)]
    handles += [
        plain.get_submodule(paths[id(layer)]).register_forward_hook(lambda *args: running.clear())
        for layer in lm.layers
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def greedy_line(lm: LanguageModel, plain: PreTrainedModel, prompt: str, max_new_tokens: int) -> str:
    """Return the first line of what `model.generate` says to one prompt, without settings of its own."""
    tokens = torch.tensor([lm.tokenizer(prompt)["input_ids"]])
    plain.generation_config = GenerationConfig()
    settings = GenerationConfig(do_sample=False, max_new_tokens=max_new_tokens, eos_token_id=0, pad_token_id=0)
    out = plain.generate(input_ids=tokens, attention_mask=torch.ones_like(tokens), generation_config=settings)
    text = lm.tokenizer.decode(out[0, tokens.shape[1] :], skip_special_tokens=True)
    return text.strip().split("\n")[0].strip()
