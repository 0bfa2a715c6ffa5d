"""A row about generation: a line after each of several prompts, greedily, behind the primer of protocol `iti`."""

import zlib

from measuring import Measured, Row, stopwatch
from operations import scoring_flops
from peers import Harness
from place import Place

from lofit_cli.models.generation import generate_lines
from lofit_cli.models.logprobs import tokenize

NUM_NEW_TOKENS = 24


def generation_row(place: Place) -> Row:
    """Return generation beside lm-eval's HF backend; what both sides must find alike is every line."""
    lm, count = place.lm, place.settings.questions[0]
    prompts = [prompt for prompt, _ in place.questions(count)]
    harness = Harness(lm.model, lm.tokenizer)
    lines = generate_lines(lm, prompts, NUM_NEW_TOKENS)
    written = [
        s for item in tokenize(lm, [(p, (f" {line}",)) for p, line in zip(prompts, lines, strict=True)]) for s in item
    ]

    def ours() -> Measured:
        with stopwatch() as watch:
            found = generate_lines(lm, prompts, NUM_NEW_TOKENS)
        return Measured(watch.seconds, _as_numbers(found))

    def peer() -> Measured:
        with stopwatch() as watch:
            found = harness.write_lines(prompts, NUM_NEW_TOKENS)
        return Measured(watch.seconds, _as_numbers(found))

    title = f"a line of up to {NUM_NEW_TOKENS} tokens for {count} questions, beside lm-eval"
    return Row(
        "lm-eval-generate", title, ours, peer, sum(len(s.tokens) for s in written), None,
        needed=scoring_flops(lm, written), about={"prompts": count},
    )  # fmt: skip


def _as_numbers(lines: list[str]) -> list[float]:
    return [float(zlib.crc32(line.strip().encode())) for line in lines]
