"""A manifest is read as its stage's type, or one sentence says why not; damaged runs stand in no other's way."""

import json

import pytest
from manifests import FACTS, manifest_of, write_manifest

from lofit_cli.artifacts.facts import separating
from lofit_cli.artifacts.files import write_json
from lofit_cli.artifacts.finished_runs import find_latest, read_manifest, read_selection
from lofit_cli.artifacts.manifest import (
    ROWS,
    ROWS_IF_ASKED,
    TABLES,
    EvaluateManifest,
    SelectHeadsManifest,
    TrainOffsetsManifest,
)
from lofit_cli.artifacts.result_manifests import MANIFESTS
from lofit_cli.artifacts.run_dir import start_run
from lofit_cli.errors import UserError
from lofit_cli.schema.stages import CompareConfig

VALUES = [None, True, -1, 3, 2.5, float("nan"), 10**30, "text", "\ud800", [], [1], ["a"], {}, {"a": 1}, {"a": [None]}]
OPTIONAL = ("selector", "num_heads", "selection_seed", "unknown_history", "head_mask", "selection_seconds")
OPTIONAL += ("training_seconds",)


@pytest.mark.parametrize("stage", MANIFESTS)
def test_what_was_written_is_read(tmp_path, stage):
    write_manifest(tmp_path, stage)
    found = read_manifest(tmp_path, MANIFESTS[stage], "runs")
    assert {name: getattr(found, name) for name in FACTS[stage]} == FACTS[stage]
    assert found.git.commit == "0123456789abcdef"


def refusal(folder, stage):
    """Return the sentence that reading a manifest ends in, or nothing."""
    try:
        read_manifest(folder, MANIFESTS[stage], "runs")
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("stage", MANIFESTS)
def test_each_value_of_each_field_is_taken_as_it_is_or_refused_in_a_sentence(tmp_path, stage):
    whole = manifest_of(stage)
    said = []
    for name in whole:
        for value in VALUES:
            (tmp_path / "manifest.json").write_text(json.dumps(whole | {name: value}))
            if sentence := refusal(tmp_path, stage):
                said.append(sentence)
            else:
                assert getattr(read_manifest(tmp_path, MANIFESTS[stage], "runs"), name) == value
    assert all(str(tmp_path) in sentence and "\n" not in sentence for sentence in said)
    assert len(said) > len(whole) * len(VALUES) / 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fold": "0"}, 'runs: the manifest of .* states fold as "0", not as a whole number from 0; run it again'),
        ({"fold": -1}, "states fold as -1, not as a whole number"),
        ({"num_train": 1.5}, "states num_train as 1.5, not as a whole number from 0 or null"),
        ({"seed": True}, "states seed as true, not as a whole number"),
        ({"metrics": [1]}, r"states metrics as \[1\], not as a list of texts"),
        ({"wall_seconds": None}, "states wall_seconds as null, not as a number"),
        ({"made_by": []}, r"states made_by as \[\], not as an object"),
        ({"judges": {"true": 1}}, "states judges as .*, not as an object of texts"),
        ({"git": {"commit": "a"}}, "does not state its dirty"),
        ({"versions": {"torch": 2}}, "states versions as"),
        ({"format": 0}, "was written by an older version of lofit .format 0, this one reads 2."),
        ({"format": 3}, "was written by a newer version of lofit"),
        ({"format": "2"}, 'states format as "2"'),
        ({"stage": ["evaluate"]}, "holds a run of .*; name one of evaluate"),
        ({"status": {}}, "ended as '{}'"),
        ({"model": "\ud800"}, "holds what is no text"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(tmp_path, changes, words):
    write_manifest(tmp_path, "evaluate", **changes)
    with pytest.raises(UserError, match=words):
        read_manifest(tmp_path, EvaluateManifest, "runs")


@pytest.mark.parametrize("stage", MANIFESTS)
def test_a_missing_fact_is_named(tmp_path, stage):
    for name in FACTS[stage]:
        content = manifest_of(stage)
        del content[name]
        write_json(tmp_path / "manifest.json", content)
        sentence = refusal(tmp_path, stage)
        assert f"does not state its {name}" in sentence or (name in OPTIONAL and not sentence)


def test_a_manifest_from_before_the_format_number_is_older(tmp_path):
    content = manifest_of("train_offsets")
    del content["format"]
    write_json(tmp_path / "manifest.json", content)
    with pytest.raises(UserError, match="was written by an older version of lofit"):
        read_manifest(tmp_path, TrainOffsetsManifest, "intervention")


CHAT = ("chat_template", "system_prompt")


def test_each_fact_of_a_comparison_says_what_it_separates():
    of_model = ["model_hash", "dtype", "quantization", "first_tokens", *CHAT]
    assert separating(TABLES) == [*of_model, "task", "split", "protocol", "num_test"]
    assert separating(ROWS) == ["selector", "num_heads", "num_trained_parameters", "num_train", "label", "method"]
    assert separating(ROWS_IF_ASKED) == ["seed", "fold", "dataset_hash", "questions_hash", "intervention"]


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"sed": 1}, "SelectHeadsManifest has no field sed"),
        ({"seed": "1"}, "a run states seed as"),
        ({"runs": []}, "no field runs"),
    ],
)
def test_a_stage_that_records_what_is_no_fact_of_it_is_stopped_at_once(tmp_path, facts, words):
    with pytest.raises(TypeError, match=words), start_run(tmp_path, "select_heads", CompareConfig()) as run:
        run.record(**facts)


def latest(folder, model="m", **facts):
    return find_latest(folder, SelectHeadsManifest, model, facts, lambda name: name.strip("./"))


def test_latest_is_the_newest_finished_run_with_the_same_facts_and_model(tmp_path):
    for day, name, seed, model in ((3, "c", 1, "m"), (4, "a", 1, "./m"), (2, "b", 2, "m/"), (9, "e", 1, "n")):
        about = {"seed": seed, "model": model, "ended_at": f"2026-01-0{day}"}
        write_manifest(tmp_path / "select_heads" / name, "select_heads", **about)
    write_manifest(tmp_path / "select_heads" / "d", "select_heads", status="interrupted", ended_at="9999", model="m")
    assert latest(tmp_path, seed=1).name == "a"
    assert latest(tmp_path, "n", seed=1).name == "e"
    with pytest.raises(UserError, match=r"select_heads run with model m, seed 3 in .*a differs in seed only"):
        latest(tmp_path, seed=3)
    with pytest.raises(UserError, match=r"select_heads; run it first"):
        latest(tmp_path, seed=3, task="t")


def test_latest_passes_over_damaged_runs_and_names_them(tmp_path, capsys):
    write_manifest(tmp_path / "select_heads" / "good", "select_heads", model="m")
    for number, (name, value) in enumerate([("ended_at", 3), ("model", None), ("seed", "1"), ("format", 0)]):
        write_manifest(tmp_path / "select_heads" / f"bad{number}", "select_heads", **{"model": "m", name: value})
    (tmp_path / "select_heads" / "empty").mkdir()
    (tmp_path / "select_heads" / "empty" / "manifest.json").write_text("")
    write_manifest(tmp_path / "select_heads" / "failed", "select_heads", status="failed", seed={})
    assert latest(tmp_path, seed=1).name == "good"
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("note: a run is left out; ") == 5
    assert "states ended_at as 3, not as a text" in said
    assert "failed" not in said.replace("bad", "")


def test_of_many_damaged_runs_a_few_are_named(tmp_path, capsys):
    for number in range(9):
        write_manifest(tmp_path / "select_heads" / str(number), "select_heads", format=0)
    with pytest.raises(UserError, match="no finished"):
        latest(tmp_path)
    said = capsys.readouterr().err
    assert said.count("a run is left out") == 5
    assert "4 more runs are left out" in said


def test_the_run_that_a_head_mask_file_lies_in(tmp_path):
    assert read_selection(tmp_path / "heads.json") is None
    write_manifest(tmp_path, "select_heads", seed=7)
    assert read_selection(tmp_path / "heads.json").heads_seed == 7
    write_manifest(tmp_path, "train_offsets", seed=7)
    assert read_selection(tmp_path / "heads.json").heads_seed is None
    write_manifest(tmp_path, "evaluate")
    assert read_selection(tmp_path / "heads.json") is None
    (tmp_path / "manifest.json").write_text(json.dumps(manifest_of("select_heads"))[:-9])
    with pytest.raises(UserError, match="cut off"):
        read_selection(tmp_path / "heads.json")
