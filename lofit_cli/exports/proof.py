"""The proof of an export: a fresh process loads it without lofit, and must compute what the edited base computes."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from lofit_cli.errors import RunError
from lofit_cli.exports import load_and_run
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.models.attention_masks import reached_windows
from lofit_cli.models.decoder import Decoder
from lofit_cli.models.forward import all_logits

TOLERANCE = 1e-4
"""Nats by which a token's log-probability may differ: float32, 30 layers and 27 offsets differ by 1e-5."""
NUM_NEW_TOKENS = 16
LONGEST = 5000
"""Tokens of the longest text: more than the attention windows in use, few enough for a processor."""
MORE_THAN_A_WINDOW = 16
NUM_LIKELY = 100
"""Tokens that are compared after a text's end: of the least likely ones float32 rounds the logits alone by more."""

TEXTS = (
    ("Q: Can penguins fly?\nA:", " No, penguins can't fly, but they swim very well."),
    ("Q: What is seven times eight?\nA:", " It is 56."),
    ("The old lighthouse keeper climbed the stairs, and at the top", " he lit the lamp as he had done each evening."),
    ("def mean(numbers):\n", "    return sum(numbers) / len(numbers)\n"),
    ("Die Stadt liegt an einem Fluss.", " Im Winter friert er zu, und die Kinder laufen darauf."),
)
"""Beginnings and how they go on, of ours: questions, a story, code and another language."""


@dataclass(frozen=True)
class Passage:
    """Tokens, of which those from `start` on are an answer."""

    tokens: list[int]
    start: int


@dataclass(frozen=True)
class Observed:
    """What a model computes on the proof's texts, in nats.

    Attributes:
        log_probs: for each text, the log-probability of each token but the first.
        last: for each text, that of every token of the vocabulary after its end.
        greedy: what is said after each prompt, as tokens.
        margins: by how much each of these tokens was likelier than any other.
    """

    log_probs: list[Tensor]
    last: list[Tensor]
    greedy: list[list[int]]
    margins: list[list[float]]


@dataclass(frozen=True)
class Proof:
    """How far an export is from the edited base.

    Attributes:
        largest_difference: of a token's log-probability, in nats, in float32.
        effect: the largest difference that the edit itself makes.
        same_greedy_text: whether greedy answers are the same, but for ties.
        num_tokens: how many tokens were compared, and `longest_text` those of one text.
        windows_reached: the sizes of those attention windows that a text was longer than.
        tolerance: what `largest_difference` may be.
    """

    largest_difference: float
    effect: float
    same_greedy_text: bool
    num_texts: int
    num_tokens: int
    longest_text: int
    windows_reached: list[int]
    tolerance: float = TOLERANCE

    def facts(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return asdict(self)


def proof_texts(lm: Decoder) -> list[Passage]:
    """Return the texts as tokens, the last one longer than the model's attention windows where that is feasible."""
    found = []
    for (beginning, _), (whole, ends) in zip(TEXTS, lm.encode(["".join(text) for text in TEXTS]), strict=True):
        start = next(i for i, end in enumerate(ends) if end > len(beginning))
        found.append(Passage(list(whole), max(1, start)))
    body = [token for text in found for token in text.tokens]
    windows = reached_windows(lm.model.config.get_text_config(decoder=True), sys.maxsize).values()
    length = max(
        [2 * len(body), *(size + MORE_THAN_A_WINDOW for size in windows if size + MORE_THAN_A_WINDOW <= LONGEST)]
    )
    length = min(length, lm.max_positions, LONGEST)
    long = (body * (length // len(body) + 1))[:length]
    return [*found, Passage(long, max(1, length // 2))]


def observe(lm: Decoder, texts: Sequence[Passage], edit: Intervention | None = None) -> Observed:
    """Return what the model computes, a text at a time, under an edit if there is one; only then what it says, too."""
    seen = Observed([], [], [], [])
    with torch.inference_mode(), edit.attach(lm) if edit else nullcontext():
        for text in texts:
            logits = all_logits(lm, [text.tokens], text.start)[0]
            wanted = torch.tensor(text.tokens[1:], device=logits.device)
            seen.log_probs.append(logits[:-1].log_softmax(-1).gather(1, wanted[:, None])[:, 0].cpu())
            seen.last.append(logits[-1].log_softmax(-1).cpu())
        for text in texts[: len(TEXTS)] if edit else ():
            said, margins = _greedy(lm, text.tokens[: text.start])
            seen.greedy.append(said)
            seen.margins.append(margins)
    return seen


def _greedy(lm: Decoder, prompt: list[int]) -> tuple[list[int], list[float]]:
    tokens, margins = list(prompt), []
    for _ in range(NUM_NEW_TOKENS):
        best = all_logits(lm, [tokens], len(prompt))[0, -1].topk(2)
        margins.append(float(best.values[0] - best.values[1]))
        tokens.append(int(best.indices[0]))
    return tokens[len(prompt) :], margins


def run_fresh(job: dict[str, Any], texts: Sequence[Passage]) -> tuple[Observed, dict[str, Any]]:
    """Run a job of `load_and_run` in a process of its own; return what it computed, and what else it found.

    Args:
        job: `kind`, `folder`, `base`, `revision`, `dtype` and `device`.

    Raises:
        RunError: it could not load what was exported.
    """
    prompts = [text.tokens[: text.start] for text in texts[: len(TEXTS)]]
    shown = [{"tokens": text.tokens, "start": text.start} for text in texts]
    strings = ["".join(text) for text in TEXTS]
    whole = {**job, "texts": shown, "prompts": prompts, "num_new_tokens": NUM_NEW_TOKENS, "strings": strings}
    whole["num_threads"] = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as work:
        file = Path(work) / "job.json"
        file.write_text(json.dumps(whole), encoding="utf-8")
        start_process(file)
        tensors, found = load_file(Path(work) / "made.safetensors"), json.loads((Path(work) / "made.json").read_text())
    log_probs, last = ([tensors[f"{part}.{i}"] for i in range(len(texts))] for part in ("tokens", "last"))
    return Observed(log_probs, last, found["greedy"], []), found


def start_process(file: Path) -> None:
    """Run a job in a process of its own."""
    command = [sys.executable, str(Path(load_and_run.__file__)), str(file)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        reason = next(reversed(ended.stderr.strip().splitlines()), f"code {ended.returncode}")
        raise RunError(f"what was exported could not be loaded by a fresh process ({reason}); use another to=")


def difference(one: Observed, other: Observed) -> float:
    """Return the largest difference of a token's log-probability, in nats: of the texts, and of what is likely next."""
    likely = [tensor.topk(min(NUM_LIKELY, len(tensor))).indices for tensor in one.last]
    ends = [(a[ids], b[ids]) for a, b, ids in zip(one.last, other.last, likely, strict=True)]
    pairs = [*zip(one.log_probs, other.log_probs, strict=True), *ends]
    # Of torch's, because Python's `max` passes over what is no number.
    return float(torch.stack([(a - b).abs().max() for a, b in pairs]).max())


def same_text(wanted: Observed, found: Observed) -> bool:
    """Return whether greedy answers agree up to the first choice that rounding decides."""
    return all(map(_agree, wanted.greedy, wanted.margins, found.greedy))


def _agree(wanted: list[int], margins: list[float], found: list[int]) -> bool:
    first = next((i for i, (a, b) in enumerate(zip(wanted, found, strict=True)) if a != b), None)
    return first is None or margins[first] <= 2 * TOLERANCE


def prove(lm: Decoder, texts: Sequence[Passage], edited: Observed, base: Observed, fresh: Observed) -> Proof:
    """Return how far what a fresh process computed is from the edited base.

    Raises:
        RunError: further than float32 rounds.
    """
    longest = max(len(text.tokens) for text in texts)
    windows = reached_windows(lm.model.config.get_text_config(decoder=True), longest)
    proof = Proof(
        largest_difference=difference(edited, fresh),
        effect=difference(edited, base),
        same_greedy_text=same_text(edited, fresh),
        num_texts=len(texts),
        num_tokens=sum(len(text.tokens) for text in texts),
        longest_text=longest,
        windows_reached=sorted(set(windows.values())),
    )
    if not proof.largest_difference <= TOLERANCE:
        raise RunError(
            f"the export differs from the edited model by {proof.largest_difference:.2g} nats on a token, and "
            f"{TOLERANCE:g} is allowed, so nothing was written; use another to=, or report this"
        )
    if not proof.same_greedy_text:
        raise RunError("the export says other things than the edited model, so nothing was written; report this")
    return proof
