"""`lofit generate`: both answers beside each other, at a terminal and in a pipe."""

import io
import json
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path

import pytest
from rich.console import Console
from stage_runs import FAST, ok
from tiny_models import build_language_model
from typer.testing import CliRunner

import lofit_cli
from lofit_cli.cli import app
from lofit_cli.console import Terminal
from lofit_cli.errors import UserError
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.report import side_by_side as shown
from lofit_cli.schema.sources import ModelConfig

PROMPT = "Q: Can penguins fly?\nA:"


@pytest.fixture
def trained(lofit):
    """The run directory of an intervention, with a function that answers as it and its base model do."""
    Path("heads.json").write_text("[[0, 1], [2, 3]]")
    rate = ("trainer.learning_rate=1.0", "head_mask=heads.json")
    ok(lofit("train-offsets", *FAST, *rate, "hydra.run.dir=runs/train_offsets/x"))
    folder = Path("runs/train_offsets/x")
    lm = lofit_cli.load_model(ModelConfig(**json.loads((folder / "manifest.json").read_text())["config"]["model"]))
    edit, _ = lofit_cli.load_intervention(folder, lm)

    def answers(prompt, count):
        found = []
        for attached in (nullcontext(), edit.attach(lm)):
            with attached:
                found += lm.generate(prompt, count)
        return found

    return answers


def generate(*overrides, stdin=""):
    return CliRunner().invoke(app, ["generate", *overrides], input=stdin)


def test_a_prompt_is_answered_without_and_with_the_intervention(trained):
    base, edited = trained(PROMPT, 8)
    assert base != edited
    for prompt in (PROMPT, PROMPT.replace("\n", "\\n")):
        found = ok(generate("intervention=runs/train_offsets/x", f"prompt={prompt}", "max_new_tokens=8")).stdout
        assert found.startswith(f"prompt: {PROMPT}\nbase model: ")
        _, _, said = found.partition("base model: ")
        assert said == f"{visible(base)}\nlofit (16 trainable parameters): {visible(edited)}\n\n"


def visible(text):
    return "\n".join(shown.terminal_text(line, "utf-8") for line in text.strip().split("\n"))


def test_each_line_of_standard_input_is_a_prompt_of_the_latest_run(trained):
    found = ok(generate("max_new_tokens=4", stdin="Who?\n\nWhy is that?"))
    assert found.stdout.count("base model: ") == 2
    assert "prompt: Who?\n" in found.stdout
    assert "prompt: Why is that?\n" in found.stdout
    assert "intervention=latest: taking runs/train_offsets/x" in found.stderr


def test_answers_grow_at_a_terminal_until_they_are_whole(monkeypatch):
    for width, first in ((100, "base"), (50, "prompt: ")):
        screen = io.StringIO()
        console = Console(file=screen, force_terminal=True, width=width, color_system=None)
        monkeypatch.setattr(shown, "results", lambda made=console: made)
        with shown.side_by_side("Who?", ("base", "edited")) as (write_base, write_edited):
            for text in ("a", "ab", "ab\x1b[2Jc"):
                write_base(text)
            write_edited("xyz")
        drawn = screen.getvalue()
        assert first in drawn
        assert drawn.index("ab") < drawn.index("xyz")
        assert "ab\\x1b[2Jc" in drawn
        assert "\x1b[2J" not in drawn


def test_the_text_so_far_is_told_token_by_token():
    lm = build_language_model("llama")
    told = []
    (whole,) = lm.generate("Q: Is it?", 7, told.append)
    assert told[-1].rstrip("\ufffd") == whole.rstrip("\ufffd")
    assert len(told) == 7
    assert all(later.startswith(earlier) for earlier, later in pairwise(told))
    assert lm.generate("Q: Is it?", 7) == [whole]
    with pytest.raises(UserError, match="write is for one prompt, and there are 2"):
        lm.generate(["a", "b"], 7, told.append)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("intervention=nowhere", "prompt=a"), "run directory nowhere does not exist"),
        (("prompt=a",), "no finished train_offsets run in runs/train_offsets"),
        (("intervention=data", "prompt=a"), "has no manifest"),
        (("prompt=",), "prompt= is empty"),
        (("prompt=a", "max_new_tokens=0"), "max_new_tokens=0 is not allowed"),
        (("promt=a",), "unknown key 'promt'; did you mean 'prompt'"),
    ],
)
def test_what_cannot_be_generated_is_refused_in_a_sentence(overrides, words, workplace):
    found = generate(*overrides)
    assert found.exit_code == 2
    assert words in " ".join(found.stderr.split())


@pytest.mark.parametrize(
    ("overrides", "stdin", "words"),
    [
        ((), "", "there is no prompt: set prompt="),
        ((), " \n\n", "there is no prompt"),
        (("prompt=a", "max_new_tokens=5000"), "", "the prompt has 5001 tokens"),
    ],
)
def test_a_prompt_that_cannot_be_answered_is_refused(overrides, stdin, words, trained):
    found = generate(*overrides, stdin=stdin)
    assert (found.exit_code, found.exception.__class__) == (2, SystemExit)
    assert words in " ".join(found.stderr.split())


def test_a_terminal_is_what_results_go_to():
    assert isinstance(shown.results(), Terminal)


def test_too_little_memory_is_said_in_a_sentence(trained, monkeypatch):
    def take_all(*arguments):
        raise MemoryError

    monkeypatch.setattr(LanguageModel, "generate", take_all)
    found = generate("intervention=latest", f"prompt={PROMPT}")
    assert (found.exit_code, "set model.max_row_tokens=" in found.stderr) == (1, True), found.stderr
