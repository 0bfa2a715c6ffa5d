"""All rows of the benchmark by name."""

from collections.abc import Callable
from importlib.util import find_spec

from generation_rows import generation_row
from measuring import Row
from place import Place, Settings
from scoring_rows import lm_eval_row, scoring_row
from training_rows import dpo_row, ia3, lora, reference_row, step_row, validation_row

from lofit_cli.errors import UserError, did_you_mean

FIXED: dict[str, Callable[[Place], Row]] = {
    "lm-eval-generate": generation_row,
    "dpo-scale": lambda place: dpo_row(place, "dpo-scale", "scale", place.every_head(), ia3),
    "dpo-scale-as-is": lambda place: dpo_row(place, "dpo-scale-as-is", "scale", place.every_head(), ia3, True),
    "dpo-offsets": lambda place: dpo_row(place, "dpo-offsets", "offset", place.heads(), lora),
    "dpo-late": lambda place: dpo_row(place, "dpo-late", "offset", place.heads(are_late=True), lora),
    "dpo-late-as-is": lambda place: dpo_row(place, "dpo-late-as-is", "offset", place.heads(are_late=True), lora, True),
    "step-all": lambda place: step_row(place, "step-all", "scale", place.every_head(), 0.9),
    "step-late": lambda place: step_row(place, "step-late", "offset", place.heads(are_late=True), 0.75),
    "reference": reference_row,
    "validation": validation_row,
}

WITHOUT_MEMORY = ("lm-eval-generate", "reference", "validation")


def row_makers(settings: Settings) -> dict[str, Callable[[Place], Row]]:
    """Return what makes each row, by its name."""
    scoring = {f"scoring-{n}": lambda place, n=n: scoring_row(place, n) for n in settings.questions}
    harness = {f"lm-eval-{n}": lambda place, n=n: lm_eval_row(place, n) for n in settings.lm_eval_questions}
    return {**scoring, **harness, **FIXED}


def choose_rows(settings: Settings, asked: str) -> tuple[list[str], dict[str, str]]:
    """Return the names of the rows to measure, and of those that are left out, with the reason.

    Args:
        asked: names or beginnings of names with commas between them; empty for all rows.

    Raises:
        UserError: no row begins like that, or one that is asked for needs what is not installed.
    """
    known, words = list(row_makers(settings)), [word.strip() for word in asked.split(",") if word.strip()]
    for word in words:
        if not any(name.startswith(word) for name in known):
            raise UserError(f"--rows {word} is no row; {did_you_mean(word, known)}")
    chosen = [name for name in known if not words or any(name.startswith(word) for word in words)]
    missing = [name for name in chosen if name.startswith("lm-eval") and not find_spec("lm_eval")]
    if missing and words:
        raise UserError(f"--rows {missing[0]} needs lm-eval, which is not installed; use scripts/bench/run.sh")
    return [name for name in chosen if name not in missing], dict.fromkeys(missing, "lm-eval is not installed")


def profile_rows(names: list[str]) -> list[str]:
    """Return the rows whose time is looked into: not of ours a second time, nor of what is only taken from the disk."""
    return [name for name in _smallest(names) if not name.endswith("-as-is") and name != "reference"]


def memory_rows(names: list[str]) -> list[str]:
    """Return the rows whose memory is measured."""
    return [name for name in _smallest(names) if name not in WITHOUT_MEMORY]


def _smallest(names: list[str]) -> list[str]:
    """Return of jobs that differ in nothing but their size the first."""
    first: dict[str, str] = {}
    for name in names:
        first.setdefault(name.rstrip("0123456789"), name)
    return list(first.values())
