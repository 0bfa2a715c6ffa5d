"""Random selections beside the selected heads, from their drawing to what they measure."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from killing import run_until
from refusals import refused
from safetensors.torch import load_file
from stage_runs import FAST, manifest, ok, only_run

NUM_DRAWS = 3
SELECT = ("select-heads", "selector=random", f"selector.draws={NUM_DRAWS}", "num_heads=2")
TRAIN = ("train-offsets", *FAST, "trainer.learning_rate=0.3")


def folders(stage):
    return sorted((only_run(stage) / "draws").iterdir())


def masks():
    return [load_file(folder / "head_mask.safetensors")["head_mask"] for folder in folders("select_heads")]


@pytest.fixture
def made(lofit):
    ok(lofit(*SELECT))
    ok(lofit(*TRAIN))
    ok(lofit("evaluate"))
    return lofit


def test_draws_are_other_heads_of_the_same_number(lofit):
    ok(lofit(*SELECT))
    drawn = masks()
    selected = load_file(only_run("select_heads") / "head_mask.safetensors")["head_mask"]
    assert len(drawn) == NUM_DRAWS == manifest(only_run("select_heads"))["num_draws"]
    assert all(mask.sum() == 2 for mask in drawn)
    assert len({tuple(mask.flatten().tolist()) for mask in [*drawn, selected]}) == NUM_DRAWS + 1


def test_each_draw_is_trained_and_measured_as_its_heads_would_be_alone(made):
    together = only_run("train_offsets"), only_run("evaluate")
    for number, folder in enumerate(folders("train_offsets")):
        assert load_file(folder / "intervention.safetensors")["head_mask"].equal(masks()[number])
        heads = only_run("select_heads") / "draws" / folder.name / "head_mask.json"
        ok(made(*TRAIN, f"head_mask={heads}", f"hydra.run.dir=alone/{number}"))
        ok(made("evaluate", f"intervention=alone/{number}", f"hydra.run.dir=measured/{number}"))
        drawn, alone = (
            load_file(Path(place, "intervention.safetensors"))["offset"] for place in (folder, f"alone/{number}")
        )
        torch.testing.assert_close(drawn, alone, rtol=1e-4, atol=1e-5)
        found, expected = (
            pq.read_table(Path(place, "predictions.parquet"))
            for place in (together[1] / "draws" / folder.name, f"measured/{number}")
        )
        assert found["question_id"] == expected["question_id"]
        for metric in ("mc1", "mc2", "mc3"):
            np.testing.assert_allclose(found[metric], expected[metric], atol=1e-4)
    assert [manifest(place)["num_draws"] for place in together] == [NUM_DRAWS, NUM_DRAWS]


def test_what_the_draws_take_is_no_cost_of_the_selected_heads(made):
    selection, training, measuring = (manifest(only_run(s)) for s in ("select_heads", "train_offsets", "evaluate"))
    assert all(0 < about["draw_seconds"] < about["wall_seconds"] for about in (training, measuring))
    own = training["wall_seconds"] - training["draw_seconds"]
    assert measuring["training_seconds"] == pytest.approx(selection["wall_seconds"] + own, abs=0.01)
    costs = ok(made("compare")).stdout
    assert f"{own + selection['wall_seconds'] + measuring['wall_seconds'] - measuring['draw_seconds']:.0f} s" in costs


def test_a_run_with_draws_is_known_again_and_copied_whole(made):
    again = ok(made(*TRAIN, "hydra.run.dir=again"))
    assert "already finished" in again.stderr
    assert len(list(Path("again/draws").glob("*/intervention.safetensors"))) == NUM_DRAWS
    assert "already finished" in ok(made("evaluate", "intervention=again", "hydra.run.dir=measured")).stderr
    assert len(list(Path("measured/draws").glob("*/predictions.parquet"))) == NUM_DRAWS


def test_another_number_of_draws_makes_another_run(made):
    ok(made(*SELECT[:2], "selector.draws=1", "num_heads=2", "hydra.run.dir=fewer"))
    ok(made(*TRAIN, "head_mask=fewer", "hydra.run.dir=offsets"))
    assert manifest("offsets")["num_draws"] == 1


def test_with_num_heads_the_draws_are_taken_anew_as_well(lofit):
    ok(lofit(*SELECT))
    ok(lofit(*TRAIN, "num_heads=3"))
    for folder in folders("train_offsets"):
        assert load_file(folder / "intervention.safetensors")["head_mask"].sum() == 3


def test_other_methods_leave_draws_out_and_say_so(lofit):
    ok(lofit(*SELECT))
    told = ok(lofit("train-offsets", "method=iti"))
    assert f"note: the {NUM_DRAWS} draws of " in told.stderr
    assert "are for method=lofit, and left out" in told.stderr
    assert not (only_run("train_offsets") / "draws").exists()


@pytest.mark.parametrize("stage", ["train_offsets", "evaluate"])
def test_draws_that_were_changed_are_refused(made, stage):
    file = sorted((only_run("train_offsets") / "draws").glob("*/intervention.safetensors"))[1]
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    if stage == "train_offsets":
        result = made("evaluate", "force=true")
    else:
        file = sorted((only_run("evaluate") / "draws").glob("*/predictions.parquet"))[1]
        file.write_bytes(b"x")
        result = made("compare")
    assert result.exit_code == 2
    assert f"{file} is not as its run wrote it" in " ".join(result.stderr.split())


def test_draws_that_were_cut_off_go_on_where_they_were(lofit, model_dir):
    settings = ("task=truthfulqa", "task.data_dir=data", "model=hub", f"model.id={model_dir}", "model.dtype=float32")
    ok(lofit(*SELECT, "hydra.run.dir=heads"))
    # One draw stands in a forward pass.
    shared = (*settings, "model.max_row_tokens=64", "runs_dir=elsewhere")
    making, measuring = (*TRAIN, *shared, "head_mask=heads"), ("evaluate", *shared, "force=true")
    for command in (making, (*measuring, "intervention=whole/making")):
        stage = "making" if command is making else "measuring"
        ok(lofit.alone(*command, f"hydra.run.dir=whole/{stage}"))
        total = run_until(None, [*command, f"hydra.run.dir=again/{stage}"])
        for before_the_end in (8, 30, 60):
            place = [*command, f"hydra.run.dir=cut/{before_the_end}/{stage}"]
            assert run_until(total - before_the_end, place) is None
            left = len(list(Path(f"cut/{before_the_end}/{stage}/draws").glob("*")))
            ok(lofit.alone(*place))
            assert left or before_the_end == 60
            for file in Path(f"whole/{stage}/draws").glob("*/*"):
                again = Path(f"cut/{before_the_end}/{stage}/draws", file.parent.name, file.name)
                assert again.read_bytes() == file.read_bytes()


def cut_short(file, other):
    file.write_bytes(file.read_bytes()[:-9])


def take_the_others(file, other):
    file.write_bytes(other.read_bytes())


def flip_a_bit(file, other):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def take_the_others_folder(file, other):
    for entry in other.parent.iterdir():
        shutil.copy(entry, file.parent / entry.name)


@pytest.mark.parametrize("harm", [cut_short, flip_a_bit, take_the_others, take_the_others_folder])
@pytest.mark.parametrize("stage", ["making", "measuring"])
def test_a_run_that_goes_on_takes_no_draw_that_is_not_as_it_wrote_it(stage, harm, lofit, model_dir):
    settings = ("task=truthfulqa", "task.data_dir=data", "model=hub", f"model.id={model_dir}", "model.dtype=float32")
    shared = (*settings, "model.max_row_tokens=64", "runs_dir=elsewhere")
    ok(lofit(*SELECT, "hydra.run.dir=heads"))
    command = (*TRAIN, *shared, "head_mask=heads")
    ok(lofit.alone(*command, "hydra.run.dir=whole/making"))
    if stage == "measuring":
        command = ("evaluate", *shared, "force=true", "intervention=whole/making")
        ok(lofit.alone(*command, "hydra.run.dir=whole/measuring"))
    total = run_until(None, [*command, "hydra.run.dir=again"])
    assert run_until(total - 8, [*command, "hydra.run.dir=cut"]) is None
    name = "intervention.safetensors" if stage == "making" else "predictions.parquet"
    first, second = (Path(f"cut/draws/{number:04d}", name) for number in (0, 1))
    harm(first, second)
    ok(lofit.alone(*command, "hydra.run.dir=cut"))
    for file in Path(f"whole/{stage}/draws").glob("*/*"):
        assert Path("cut/draws", file.parent.name, file.name).read_bytes() == file.read_bytes()


@pytest.mark.parametrize("stage", ["select_heads", "train_offsets", "evaluate"])
def test_a_run_that_lacks_a_draw_is_refused(stage, made):
    folder = only_run(stage)
    shutil.rmtree(folder / "draws/0001")
    after = {"select_heads": TRAIN, "train_offsets": ("evaluate", "force=true"), "evaluate": ("compare",)}[stage]
    result = made(*after)
    assert result.exit_code == 2
    assert f"2 of its {NUM_DRAWS} draws" in " ".join(result.stderr.split())


def test_a_negative_number_of_draws_is_refused(lofit):
    result = lofit("select-heads", "selector=random", "selector.draws=-1")
    assert result.exit_code == 2
    assert "selector.draws=-1" in result.stderr


def test_draws_start_where_the_selected_heads_do(lofit):
    ok(lofit(*SELECT))
    ok(lofit(*TRAIN, "method.init=iti", "trainer.learning_rate=1e-9"))
    heads = only_run("select_heads") / "draws/0000/head_mask.json"
    ok(lofit(*TRAIN, "method.init=iti", "trainer.learning_rate=1e-9", f"head_mask={heads}", "hydra.run.dir=alone"))
    drawn, alone = (
        load_file(folder / "intervention.safetensors")["offset"]
        for folder in (folders("train_offsets")[0], Path("alone"))
    )
    torch.testing.assert_close(drawn, alone)
    assert drawn.norm() > 1


@pytest.mark.parametrize("words", [(), ("--plan",)], ids=["a run", "a plan"])
def test_a_start_that_draws_have_no_part_in_is_refused(lofit, words):
    ok(lofit(*SELECT))
    ok(lofit(*TRAIN, "hydra.run.dir=runs/start"))
    told = "method.init=runs/start would start the selected heads from a run and the 3 draws beside them at random"
    refused(lofit(*TRAIN, "method.init=runs/start", "hydra.run.dir=runs/x", *words), told)
    assert not Path("runs/x/history.jsonl").exists()
    ok(lofit(*TRAIN, "method.init=iti", "hydra.run.dir=runs/iti"))
