"""What the base model makes of a split is computed once, and each run has the same bytes as without a cache."""

import json
import os
from pathlib import Path

import pytest
import torch
from several_processes import run_together
from stage_runs import FAST, manifest, ok
from torch.nn.modules.module import register_module_forward_pre_hook
from transformers import PreTrainedModel

from lofit_cli.artifacts.run_dir import RunDir

TEXTS = ("task=clutrr", "task.data_dir=sample", "task.max_new_tokens=3")
STAGES = {
    "references": (("train-offsets", "head_mask=heads.json", *FAST), "intervention.safetensors", 2),
    "scores": (("evaluate", "intervention=none", "model.max_row_tokens=64"), "predictions.parquet", 1),
    "texts": (("evaluate", "intervention=none", *TEXTS), "predictions.parquet", 1),
    "activations": (("select-heads", "selector=probe", "num_heads=3"), "head_mask.safetensors", 2),
    "hidden_states": (("train-offsets", "method=caa"), "intervention.safetensors", 1),
}
each_stage = pytest.mark.parametrize("kind", STAGES)


@pytest.fixture
def made(lofit, cache):
    """Run a stage into a folder of this name; return what it made, what it said, and its number of forward passes."""
    Path("heads.json").write_text("[[0, 1], [2, 3]]")

    def make(kind, name, *settings):
        words, file, _ = STAGES[kind]
        passes = []

        def count(module, inputs):
            if isinstance(module, PreTrainedModel):
                passes.append(module)

        counting = register_module_forward_pre_hook(count)
        try:
            ended = ok(lofit(*words, "force=true", f"hydra.run.dir=runs/{name}", *settings))
        finally:
            counting.remove()
        return Path("runs", name, file).read_bytes(), ended.stderr, len(passes)

    return make


def entries(lofit):
    return {
        kind["kind"]: kind["num_entries"] for kind in json.loads(ok(lofit.alone("cache", "--json")).stdout)["kinds"]
    }


@each_stage
def test_a_second_run_takes_it_and_makes_the_same_bytes(kind, made, lofit):
    plain, _, _ = made(kind, "plain", "cache=false")
    assert entries(lofit) == {}
    first, said, num_first = made(kind, "first")
    assert (first, "taken from the cache" in said) == (plain, False)
    second, said, num_second = made(kind, "second")
    assert second == plain
    assert num_second < num_first
    assert said.count("taken from the cache") == STAGES[kind][2]
    assert entries(lofit) == {kind: STAGES[kind][2]}


@each_stage
def test_cache_false_reads_and_writes_nothing(kind, made, cache):
    made(kind, "first")

    def state():
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in cache.rglob("*")}

    before = state()
    _, said, _ = made(kind, "second", "cache=false")
    assert "taken from the cache" not in said
    assert state() == before


def test_a_damaged_entry_is_computed_anew(made, cache):
    expected, _, _ = made("scores", "first")
    (file,) = cache.rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-9])
    second, third = made("scores", "second"), made("scores", "third")
    assert [second[0], third[0]] == [expected] * 2
    assert ["taken from the cache" in said for _, said, _ in (second, third)] == [False, True]
    assert second[2] > third[2]


def test_threads_length_of_rows_and_of_texts_and_items_are_told_apart(made):
    made("scores", "scores")
    made("texts", "texts")
    for name, kind, setting in (
        ("rows", "scores", "model.max_row_tokens=80"),
        ("protocol", "scores", "eval.protocol=lm_eval"),
        ("split", "scores", "eval.split=validation"),
        ("items", "scores", "task.num_test=2"),
        ("texts4", "texts", "task.max_new_tokens=4"),
    ):
        assert "taken from the cache" not in made(kind, name, setting)[1]
    torch.set_num_threads(2)
    try:
        assert "taken from the cache" not in made("scores", "threads")[1]
    finally:
        torch.set_num_threads(1)


def test_an_intervention_is_measured_every_time(made, lofit, cache):
    made("references", "made")
    words = ("evaluate", "intervention=runs/made", "force=true")
    for name in ("a", "b"):
        assert "taken from the cache" not in ok(lofit(*words, f"hydra.run.dir=runs/{name}")).stderr
    assert entries(lofit) == {"references": 2}


def test_the_cache_is_no_part_of_what_a_run_is_made_of(lofit, cache):
    words = ("evaluate", "intervention=none", "hydra.run.dir=runs/a")
    ok(lofit(*words))
    assert "already finished" in ok(lofit(*words, "cache=false")).stderr


def test_a_run_that_was_cut_off_goes_on_by_itself(made, lofit, cache, monkeypatch):
    """On other threads its first part would have other bits, so it is not kept either."""
    whole, _, _ = made("scores", "whole", "cache=false")
    words = (*STAGES["scores"][0], "force=true", "hydra.run.dir=runs/cut")
    append, lines = RunDir.append_line, []

    def stop(run, name, content):
        if len(lines) == 2:
            raise KeyboardInterrupt
        lines.append(append(run, name, content))

    with monkeypatch.context() as patch:
        patch.setattr(RunDir, "append_line", stop)
        assert lofit(*words).exit_code == 130
    assert Path("runs/cut/outcomes.jsonl").exists()
    ok(lofit(*words))
    assert manifest("runs/cut")["continued"]
    assert Path("runs/cut/predictions.parquet").read_bytes() == whole
    assert entries(lofit) == {}


@pytest.mark.parametrize("kind", ["references", "scores", "texts", "hidden_states"])
@pytest.mark.parametrize("first", [1, 2])
def test_one_process_and_several_take_what_the_others_computed(kind, first, shared_command, cache):
    words, file, num_taken = STAGES[kind]
    found = []
    for folder, number in (("first", first), ("second", 3 - first), ("plain", 3 - first)):
        extra = ("cache=false",) if folder == "plain" else ()
        leader, *others = run_together(shared_command(*words, *extra, run=folder), number)
        assert [leader.exit_code, *(other.exit_code for other in others)] == [0] * number, (leader, others)
        assert leader.said.count("taken from the cache") == (num_taken if folder == "second" else 0)
        assert [other.said for other in others] == [""] * len(others)
        found.append((Path(folder) / "x" / file).read_bytes())
    assert found[1] == found[2]


def test_processes_of_which_one_finds_nothing_all_compute(shared_command, cache):
    words, file, _ = STAGES["scores"]
    run_together(shared_command(*words, run="first"))

    def lose(number):
        if number == 1:
            os.environ["LOFIT_CACHE"] = "elsewhere"

    leader, other = run_together(shared_command(*words, run="second"), before=lose)
    assert (leader.exit_code, other.exit_code, other.said) == (0, 0, "")
    assert "taken from the cache" not in leader.said
    assert (Path("first/x") / file).read_bytes() == (Path("second/x") / file).read_bytes()
    assert not Path("elsewhere").exists()


def test_an_empty_cache_says_so(lofit, cache):
    ended = ok(lofit.alone("cache", "--clear"))
    assert f"nothing that was computed is kept in {cache.parent}" in ended.stderr.replace("\n", "")
    assert ended.stdout == ""


def test_what_is_kept_is_listed_and_cleared_if_that_is_wanted(made, lofit, cache):
    made("scores", "a")
    made("references", "b")
    model = cache.parent / "smollm2" / "model.safetensors"
    model.parent.mkdir()
    model.touch()
    listed = ok(lofit.alone("cache")).stdout
    assert listed.index("references") < listed.index("scores")
    assert "of at most 5.0 GB" in listed
    lofit.typed = "n\n"
    assert "Remove 3 entries?" in lofit.alone("cache", "--clear").stderr
    assert entries(lofit) == {"references": 2, "scores": 1}
    lofit.typed = "y\n"
    assert "removed 3 entries" in ok(lofit.alone("cache", "--clear")).stderr
    assert entries(lofit) == {}
    assert model.exists()


def test_a_limit_that_is_none_is_refused_unless_nothing_is_kept(lofit, cache, monkeypatch):
    monkeypatch.setenv("LOFIT_CACHE_GB", "much")
    for words in (("cache",), ("evaluate", "intervention=none")):
        ended = lofit(*words)
        assert (ended.exit_code, ended.stderr.count("lofit: LOFIT_CACHE_GB=much is not a size;")) == (2, 1)
    ok(lofit("evaluate", "intervention=none", "cache=false"))
