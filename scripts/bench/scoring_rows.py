"""Rows about scoring: the answers to test questions, each question behind the primer of protocol `iti`."""

from collections.abc import Callable

from measuring import Measured, Pass, Row, stopwatch
from operations import scoring_flops
from peers import LM_EVAL_BATCH, Harness, Texts, score_one_by_one
from place import Place, spread

from lofit_cli.models.logprobs import score_answers, tokenize
from lofit_cli.models.packing import shared_prefix_length

Score = Callable[[Texts], list[list[float]]]
GOALS = {"forward": {"float32": 25.0, "bfloat16": 25.0}, "lm_eval": {"float32": 22.0, "bfloat16": 22.0}}


def scoring_row(place: Place, count: int) -> Row:
    """Return scoring beside one forward pass an answer."""
    lm = place.lm
    return _row(
        place, count, f"scoring-{count}", "a forward pass an answer", "forward",
        lambda texts: score_one_by_one(lm.model, lm.tokenizer, texts), 1,
    )  # fmt: skip


def lm_eval_row(place: Place, count: int) -> Row:
    """Return scoring beside lm-eval's HF backend."""
    harness = Harness(place.lm.model, place.lm.tokenizer)
    return _row(place, count, f"lm-eval-{count}", "lm-eval", "lm_eval", harness.score, LM_EVAL_BATCH)


def _row(place: Place, count: int, name: str, beside: str, goal: str, score: Score, batch: int) -> Row:
    texts = place.questions(count)
    num_asked = max(1, round(place.settings.peer_share * count))
    asked = spread(range(count), num_asked)
    items = tokenize(lm := place.lm, texts)
    tokens = [sum(len(s.tokens) for s in item) for item in items]
    scale = sum(tokens) / sum(tokens[i] for i in asked)

    def ours() -> Measured:
        with stopwatch() as watch:
            found = score_answers(lm, texts)
        return Measured(watch.seconds, [value / value.num_tokens for i in asked for value in found[i]])

    lengths = [len(s.tokens) - s.start for i in asked for s in items[i]]

    def peer() -> Measured:
        with stopwatch() as watch:
            found = [value for item in score([texts[i] for i in asked]) for value in item]
        means = [value / length for value, length in zip(found, lengths, strict=True)]
        return Measured(watch.seconds * scale, means, {"measured": watch.seconds})

    about = {"questions": count, "answers": len([a for _, answers in texts for a in answers])}
    shared = {"peer_questions": num_asked, "peer_seconds_scaled_by": scale} if num_asked < count else {}
    return Row(
        name, f"scoring {count} questions, beside {beside}", ours, peer, sum(tokens), GOALS[goal].get(place.dtype),
        passes=_passes(place, texts, batch), needed=scoring_flops(lm, [s for item in items for s in item]),
        about=about | shared,
    )  # fmt: skip


def _passes(place: Place, texts: Texts, batch: int) -> dict[str, Pass]:
    """Return the largest passes: ours a row behind the shared prefix, the peer's a batch as long as the longest."""
    items = tokenize(place.lm, texts)
    flat = [sequence for item in items for sequence in item]
    prefix, longest = shared_prefix_length(flat), max(len(sequence.tokens) for sequence in flat)
    num_answer = sum(len(sequence.tokens) - sequence.start for sequence in flat)
    row = min(place.lm.max_row_tokens, num_answer + sum(item[0].start - prefix for item in items))
    whole = max(row, prefix)
    padded = batch * longest
    return {
        "ours": Pass(whole, prefix + row, min(row, num_answer), cached=prefix),
        "peer": Pass(padded, longest if batch > 1 else 0, padded, cached=padded),
    }
