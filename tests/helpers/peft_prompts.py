"""What peft's prompt and prefix tuning make of token sequences."""

import torch


def peft_scores(tuned, sequences):
    """Return the log-probability of each sequence's answer, (num_sequences,), one pass a sequence."""
    scores = []
    for sequence in sequences:
        tokens = torch.tensor([sequence.tokens])
        # Prompt tuning has logits of its own vectors as well, before those of the tokens.
        logits = tuned(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits[0, -tokens.shape[1] : -1]
        found = logits.log_softmax(dim=-1).gather(-1, tokens[0, 1:, None]).flatten()
        scores.append(found[sequence.start - 1 :].sum())
    return torch.stack(scores)
