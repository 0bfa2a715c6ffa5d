"""What an intervention is built on and does not say what it has learnt from is said, as far as the last table."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from stage_runs import ok, unseal

TRAIN = ("train-offsets", "trainer.num_epochs=1")


def history(run):
    return json.loads(Path(run, "manifest.json").read_text()).get("unknown_history")


def test_a_mask_copied_out_of_its_run_is_noted_in_the_manifests_and_in_the_comparison(lofit):
    ok(lofit("select-heads", "trainer.num_epochs=1", "num_heads=2", "hydra.run.dir=runs/heads"))
    Path("copies").mkdir()
    shutil.copy("runs/heads/head_mask.safetensors", "copies/heads.safetensors")
    said = ok(lofit(*TRAIN, "head_mask=copies/heads.safetensors", "hydra.run.dir=runs/unknown")).stderr
    assert "copies/heads.safetensors has no seen_items.json beside it" in said.replace("\n", " ")
    ok(lofit(*TRAIN, "head_mask=runs/heads", "hydra.run.dir=runs/known"))
    for name in ("unknown", "known"):
        ok(lofit("evaluate", f"intervention=runs/{name}", f"hydra.run.dir=runs/eval-{name}"))
    assert history("runs/unknown") == history("runs/eval-unknown") == ["copies/heads.safetensors"]
    assert not history("runs/known")
    assert not history("runs/eval-known")
    result = ok(lofit("compare", "runs=[runs/eval-unknown,runs/eval-known]", "hydra.run.dir=out"))
    note = "what heads.safetensors learnt from is not known"
    shown = " ".join(word for word in result.stdout.replace("│", " ").split())
    assert "heads.safetensors learnt" in shown or note in shown
    rows = list(csv.DictReader(Path("out/comparison.csv").read_text().splitlines()))
    assert [row["unknown_history"] for row in rows] == ["copies/heads.safetensors", ""]
    assert all(note in Path("out", name).read_text() for name in ("comparison.md", "comparison.tex", "report.html"))
    shutil.copytree("runs/known", "runs/copied")
    Path("runs/copied/seen_items.json").unlink()
    source = ("method=random_offset", "method.source=runs/copied", "hydra.run.dir=runs/turned")
    ok(lofit("train-offsets", *source))
    assert history("runs/turned") == ["runs/copied"]


def test_heads_of_a_list_and_of_a_run_made_of_it(lofit):
    Path("heads.json").write_text("[[0, 1], [2, 3]]")
    common = ("select-heads", "num_heads=2")
    ok(lofit(*common, "selector=file", "selector.source=heads.json", "hydra.run.dir=runs/list"))
    ok(lofit(*common, "selector=from_run", "selector.source=runs/list", "hydra.run.dir=runs/again"))
    ok(lofit(*TRAIN, "head_mask=runs/again", "hydra.run.dir=runs/offsets"))
    assert history("runs/list") == history("runs/again") == history("runs/offsets") == ["heads.json"]
    ok(lofit(*common, "selector=random", "hydra.run.dir=runs/random"))
    ok(lofit(*TRAIN, "head_mask=runs/random", "hydra.run.dir=runs/known"))
    assert not history("runs/known")


@pytest.mark.parametrize("content", ["{}", '"text"', "[1, 2]", '["a", null]', "[", "", "null", '[""]', '{"a": "b"}'])
def test_a_damaged_list_of_what_was_seen_is_refused(lofit, content):
    Path("heads.json").write_text("[[0, 1]]")
    ok(lofit(*TRAIN, "head_mask=heads.json", "hydra.run.dir=runs/a"))
    unseal("runs/a")
    Path("runs/a/seen_items.json").write_text(content)
    for arguments in (
        ("evaluate", "intervention=runs/a"),
        ("train-offsets", "head_mask=runs/a/head_mask.safetensors"),
        ("train-offsets", "method=random_offset", "method.source=runs/a"),
    ):
        result = lofit(*arguments)
        assert result.exit_code == 2, arguments
        assert "seen_items.json" in result.stderr
        assert "is damaged" in result.stderr.replace("\n", " ") or "not JSON" in result.stderr.replace("\n", " ")
