"""What tests of descriptions share: a few texts, and what a model makes of one in the plainest way."""

import torch

from lofit_cli.artifacts.description import Described
from lofit_cli.description.texts import cut_texts
from lofit_cli.schema.stages import DescribeConfig

TEXTS = [
    "Ada took her brother Boris to the market.",
    "On the train he told an old joke.",
    "Rain, 7!",
    "the number of it",
]
ABOUT = Described("lofit, here, seed 1", "run", "runs/x", "lofit", "here", 1)
SMALL = DescribeConfig("runs/x", num_continued=2, max_new_tokens=3, top_k=10, strengths=[1.0, 4.0])


def read_texts(lm, texts=TEXTS):
    return cut_texts(lm, "the test", texts)


def silent(num_texts):
    """Take what is reported, and show nothing."""


@torch.no_grad()
def plain_states(lm, tokens, **inputs):
    """Return (num_layers - 1, seq, hidden) states after each layer but the last, and the logits (seq, vocabulary).

    What transformers calls the last hidden state has been normalised.
    """
    row = {"input_ids": torch.tensor([tokens])} if tokens is not None else {}
    out = lm.model(**row, **inputs, use_cache=False, output_hidden_states=True)
    return torch.cat(out.hidden_states[1:-1]), out.logits[0]
