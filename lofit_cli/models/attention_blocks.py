"""Attention of a packed row block by block: a few tokens at a time, over what they see and nothing else.

Most of a row's tokens belong to other questions, and a dense mask has a kernel compute them all the same.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

KERNEL = "sdpa"
"""What transformers calls the attention that takes any mask; other kinds are left as they are."""
BLOCK_TOKENS = 128


class Block(NamedTuple):
    """Consecutive tokens of a row, with the numbers of the keys that one of them sees."""

    tokens: slice
    keys: Tensor


def find_blocks(parents: Sequence[int], prefix_length: int) -> list[Block]:
    """Return the blocks of a row, in order.

    Args:
        parents: of each node the one before it, -1 for none; parents stand before their children.
        prefix_length: how many keys, which all tokens see, come before the row's own.
    """
    blocks = []
    for start in range(0, len(parents), BLOCK_TOKENS):
        stop = min(start + BLOCK_TOKENS, len(parents))
        above: set[int] = set()
        for parent in parents[start:stop]:
            while 0 <= parent < start and parent not in above:
                above.add(parent)
                parent = parents[parent]
        keys = [*range(prefix_length), *(prefix_length + node for node in (*sorted(above), *range(start, stop)))]
        blocks.append(Block(slice(start, stop), torch.tensor(keys)))
    return blocks


@contextmanager
def attended_in_blocks(masks: Sequence[Tensor], blocks: Sequence[Block]) -> Iterator[None]:
    """Let attention under one of these masks, (1, 1, n, keys), be computed in blocks inside a `with` block."""
    whole = ALL_ATTENTION_FUNCTIONS[KERNEL]
    parts = {id(mask): [mask[:, :, block.tokens].index_select(-1, block.keys) for block in blocks] for mask in masks}

    def attend(module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **how: Any) -> Any:
        own = parts.get(id(attention_mask))
        if own is None or how.get("position_bias") is not None:
            return whole(module, query, key, value, attention_mask, **how)
        found = [
            whole(
                module,
                query[:, :, block.tokens],
                key.index_select(2, block.keys),
                value.index_select(2, block.keys),
                mask,
                **how,
            )[0]
            for block, mask in zip(blocks, own, strict=True)
        ]
        return torch.cat(found, dim=1), None

    ALL_ATTENTION_FUNCTIONS[KERNEL] = attend
    try:
        yield
    finally:
        del ALL_ATTENTION_FUNCTIONS[KERNEL]
