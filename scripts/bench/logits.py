"""What it costs and saves to compute a long row's logits a few at a time, with their gradient, in the same process.

python scripts/bench/logits.py --vocabulary 128256 --num-tokens 1024
"""

import time
from pathlib import Path

import torch
import typer
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from lofit_cli.artifacts.provenance import peak_memory, reset_peak_memory
from lofit_cli.models.logits_tail import LogitsTail
from lofit_cli.models.token_scores import token_logprobs


def whole(head: nn.Module, hidden: Tensor, tokens: Tensor) -> Tensor:
    """Return the same log-probabilities from all logits at once."""
    logits = head(hidden).float()
    return logits.gather(-1, tokens[:, None]).squeeze(-1) - logits.logsumexp(dim=-1)


def main(vocabulary: int = 128_256, hidden_size: int = 1024, num_tokens: int = 1024, repeats: int = 3) -> None:
    """Compute both ways in turn, and print the ratios of time and of the memory that comes on top."""
    sizes = {"hidden_size": hidden_size, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 8}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=vocabulary, **sizes)).eval().requires_grad_(False)
    hidden, tokens = torch.randn(num_tokens, hidden_size), torch.randint(0, vocabulary, (num_tokens,))
    for repeat in range(repeats):
        found = []
        for score in (
            lambda rows: whole(model.lm_head, rows, tokens),
            lambda rows: token_logprobs(model, LogitsTail(None), rows, tokens),
        ):
            own = hidden.clone().requires_grad_()
            reset_peak_memory()
            before, start = _resident(), time.perf_counter()
            score(own).sum().backward()
            found.append((time.perf_counter() - start, peak_memory()["peak_memory_bytes"] - before, own.grad))
        (all_seconds, all_bytes, wanted), (seconds, some_bytes, gradient) = found
        typer.echo(
            f"run {repeat + 1}: at once {all_seconds:.1f} s and {all_bytes / 1e9:.2f} GB, in parts {seconds:.1f} s and "
            f"{some_bytes / 1e9:.2f} GB, {all_bytes / some_bytes:.1f} times less, {all_seconds / seconds:.2f} times "
            f"faster, gradient differs by {float((gradient - wanted).norm() / wanted.norm()):.1e} of its norm"
        )


def _resident() -> int:
    """Return the memory of this process in bytes, on Linux."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


if __name__ == "__main__":
    typer.run(main)
