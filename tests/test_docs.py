"""The documentation does what it says: its commands are run, and what is generated is as it would be now."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest
from chat_models import build_chat_model
from tiny_models import build_model, build_tokenizer
from typer.testing import CliRunner

from lofit_cli.cli import app
from lofit_cli.exports import load_and_run, proof

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def write_questions(folder, name, first):
    rows = (
        {"question": f"Is it number {i}?", "correct": [f"Yes, it is {i}.", "It is."], "incorrect": [f"No {i}.", "No."]}
        for i in range(first, first + 60)
    )
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def command_of(line):
    """Return the words that a shell would give to lofit."""
    program, *words = shlex.split(line)
    assert program == "lofit"
    return words


def test_every_command_of_the_quick_start_works_in_its_order(tmp_path, monkeypatch):
    write_questions(tmp_path / "questions", "train", 0)
    write_questions(tmp_path / "questions", "test", 100)
    lm = build_chat_model("qwen3")
    lm.model.save_pretrained(tmp_path / "chat-model")
    lm.tokenizer.save_pretrained(tmp_path / "chat-model")
    blocks = re.findall(r"```sh\n(.*?)```", (DOCS / "quick_start.md").read_text(), re.S)
    assert len(blocks[0].splitlines()) == 5
    monkeypatch.chdir(tmp_path)
    # In this process: importing what a model needs takes longer than each of them.
    shown = [CliRunner().invoke(app, command_of(line)) for block in blocks for line in block.splitlines()]
    for found in shown:
        assert found.exit_code == 0, found.stderr
    assert (tmp_path / "edited-model" / "config.json").exists()
    assert "base model: " in shown[5].stdout
    metrics = [json.loads(file.read_text()) for file in sorted((tmp_path / "runs").glob("evaluate/*/metrics.json"))]
    assert len(metrics) == 3
    for name, value in metrics[1].items():
        assert metrics[2][name]["mean"] == pytest.approx(value["mean"], abs=1e-5)


def test_the_walkthrough_runs_from_its_first_cell_to_its_last(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    build_model("llama").save_pretrained("tiny")
    build_tokenizer().save_pretrained("tiny")
    monkeypatch.setattr(proof, "start_process", load_and_run.main)
    settings = ["model=hub", "model.id=tiny", "model.dtype=float32"]
    monkeypatch.setattr(sys, "argv", ["walkthrough.py", *settings])
    cells = (DOCS / "walkthrough.py").read_text()
    assert cells.count("# %%") >= 5
    exec(compile(cells, "walkthrough.py", "exec"), {"__name__": "__main__"})
    assert Path("walkthrough-model", "config.json").exists()


def test_every_link_between_pages_leads_somewhere():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            assert target.startswith("http") or (page.parent / target).exists(), f"{page.name}: {target}"


def test_readme_is_short_and_leads_to_every_page():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 120
    assert {page.name for page in DOCS.glob("*.md")} <= {
        Path(link).name for link in re.findall(r"\((docs/.*?)\)", text)
    }
