"""Attention of a packed row block by block: a few tokens at a time, over what they see and nothing else.

Most of a row's tokens belong to other questions, and a dense mask has a kernel compute them all the same.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

KERNEL = "sdpa"
"""What transformers calls the attention that takes any mask; other kinds are left as they are."""
BLOCK_TOKENS, HALF_BLOCK_TOKENS, ACCELERATED_BLOCK_TOKENS = 128, 256, 1024
"""Tokens of a block on a CPU, in float32 and in half precision, and on an accelerator.

Fewer cost more in calls than they save in pairs of tokens: measured on two CPU cores, and taken from the number of
calls on accelerators.
"""


def block_tokens(device: torch.device, dtype: torch.dtype) -> int:
    """Return how many tokens of a row attend together."""
    if device.type != "cpu":
        return ACCELERATED_BLOCK_TOKENS
    return BLOCK_TOKENS if dtype == torch.float32 else HALF_BLOCK_TOKENS


def seen_keys(parents: Sequence[int], prefix_length: int, size: int) -> list[Tensor]:
    """Return, for each block of a row's tokens, the numbers of the keys that one of them sees.

    Args:
        parents: of each node the one before it, -1 for none; parents stand before their children.
        prefix_length: how many keys, which all tokens see, come before the row's own.
        size: how many tokens a block has, the last one perhaps fewer.
    """
    found = []
    for start in range(0, len(parents), size):
        stop = min(start + size, len(parents))
        above: set[int] = set()
        for parent in parents[start:stop]:
            while 0 <= parent < start and parent not in above:
                above.add(parent)
                parent = parents[parent]
        own = (prefix_length + node for node in (*sorted(above), *range(start, stop)))
        found.append(torch.tensor([*range(prefix_length), *own]))
    return found


@contextmanager
def attended_in_blocks(masks: Sequence[Tensor], seen: Sequence[Tensor], size: int) -> Iterator[None]:
    """Let attention under one of these masks, (1, 1, n, keys), be computed in blocks inside a `with` block.

    Args:
        seen: the numbers of the keys that each block sees, where the masks are.
        size: how many tokens a block has.
    """
    if len(seen) == 1:
        yield
        return
    whole = ALL_ATTENTION_FUNCTIONS[KERNEL]
    parts = {
        id(mask): [part.index_select(-1, keys) for part, keys in zip(mask.split(size, dim=2), seen, strict=True)]
        for mask in masks
    }

    def attend(module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **how: Any) -> Any:
        own = parts.get(id(attention_mask))
        if own is None or how.get("position_bias") is not None:
            return whole(module, query, key, value, attention_mask, **how)
        found = []
        for queries, keys, mask in zip(query.split(size, dim=2), seen, own, strict=True):
            near = key.index_select(2, keys), value.index_select(2, keys)
            found.append(whole(module, queries, *near, mask, **how)[0])
        return torch.cat(found, dim=1), None

    ALL_ATTENTION_FUNCTIONS[KERNEL] = attend
    try:
        yield
    finally:
        ALL_ATTENTION_FUNCTIONS[KERNEL] = whole
