"""How each intervention was made: found where it is, drawn once, and never another run's."""

import base64
import json
import shutil
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from manifests import write_manifest
from matplotlib import colormaps
from matplotlib.image import imread
from synthetic_runs import write_run

from lofit_cli.artifacts.evaluations import read_evaluations
from lofit_cli.artifacts.geometry import Geometry
from lofit_cli.artifacts.head_mask import HeadMask
from lofit_cli.artifacts.head_scores import read_head_scores
from lofit_cli.artifacts.run_dir import start_run
from lofit_cli.errors import UserError
from lofit_cli.report.comparison.drawings import draw_curve, draw_heat_map
from lofit_cli.report.comparison.interventions import collect_interventions
from lofit_cli.schema.stages import CompareConfig
from lofit_cli.stages.compare import compare

MADE = {
    "method": "iti",
    "selector": "probe",
    "num_heads": 2,
    "num_trained_parameters": 128,
    "made_by": {"method.alpha": 15},
}


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def make_intervention(folder, **facts):
    """Write what a train-offsets run leaves: 3 layers of 2 heads, of which the second layer has one only."""
    geometry = Geometry((2, 1, 2), (8, 8, 8))
    scores = torch.tensor([[0.0, 1.0], [2.0, -torch.inf], [3.0, 4.0]])
    folder.mkdir(parents=True)
    HeadMask("m", geometry, "probe", scores, scores >= 3).save(folder)
    steps = [{"epoch": 1 + i // 2, "step": 1 + i, "task_loss": 4.0 - i} for i in range(4)]
    looks = [{"epoch": 1, "loss": 3.5}, {"epoch": 2, "loss": 2.0}]
    candidates = [{"alpha": alpha, "layer": None, "mc1": alpha / 100} for alpha in (5.0, 15.0)]
    for name, lines in (("history", steps), ("validation", looks), ("candidates", candidates)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_manifest(folder, "train_offsets", **MADE | {"alpha": 15.0} | facts)


def evaluations(folder=Path("runs/evaluate")):
    return [(run.path.name, run) for run in read_evaluations([str(folder)])]


def evaluate(name="a", intervention="runs/train_offsets/x", folder=Path("runs/evaluate"), **facts):
    method = (MADE["method"], MADE["selector"], MADE["num_heads"], MADE["made_by"])
    write_run(folder / name, "clutrr", 0, 1, method, num_questions=20, intervention=intervention, **facts)


def test_an_intervention_of_two_evaluations_stands_once():
    make_intervention(Path("runs/train_offsets/x"))
    evaluate("a")
    evaluate("b", split="validation")
    (made,) = collect_interventions(evaluations())
    assert (made.labels, made.fault, made.path) == (["a", "b"], "", "runs/train_offsets/x")
    assert made.training == [(1.0, 4.0), (2.0, 3.0), (3.0, 2.0), (4.0, 1.0)]
    assert made.validation == [(2.0, 3.5), (4.0, 2.0)]
    assert made.candidates.columns == ["alpha", "mc1"]
    assert (made.candidates.rows, made.candidates.chosen) == ([[5.0, 0.05], [15.0, 0.15]], 1)
    np.testing.assert_array_equal(made.heads.mask, [[False, False], [False, False], [True, True]])


def test_runs_that_moved_together_are_found_and_deleted_ones_are_named():
    make_intervention(Path("runs/train_offsets/x"))
    evaluate()
    Path("runs").rename("moved")
    (made,) = collect_interventions(evaluations(Path("moved/evaluate")))
    assert (made.fault, Path(made.path).parts[-3:]) == ("", ("moved", "train_offsets", "x"))
    shutil.rmtree("moved/train_offsets")
    (made,) = collect_interventions(evaluations(Path("moved/evaluate")))
    assert (made.fault, made.path) == ("is not there any more", "runs/train_offsets/x")


def test_another_run_in_the_same_place_is_not_taken_for_it():
    make_intervention(Path("runs/train_offsets/x"), made_by={"method.alpha": 5})
    evaluate()
    (made,) = collect_interventions(evaluations())
    assert made.fault == "is another run today than the one that was measured"
    assert made.is_empty


@pytest.mark.parametrize("name", ["history.jsonl", "head_mask.safetensors", "candidates.jsonl"])
def test_damaged_files_are_said_or_passed_over(name):
    make_intervention(Path("runs/train_offsets/x"))
    evaluate()
    Path("runs/train_offsets/x", name).write_bytes(b'{"epoch": "1"}\nno json\xff')
    (made,) = collect_interventions(evaluations())
    assert made.fault.startswith("can't be read: ")


def test_a_run_without_heads_or_training_is_empty():
    make_intervention(Path("runs/train_offsets/x"))
    evaluate()
    for name in ("history.jsonl", "validation.jsonl", "head_mask.safetensors", "candidates.jsonl"):
        Path("runs/train_offsets/x", name).unlink()
    (made,) = collect_interventions(evaluations())
    assert (made.fault, made.is_empty) == ("", True)


def test_a_head_is_a_pixel_coloured_by_its_score():
    make_intervention(Path("x"))
    drawn = draw_heat_map(read_head_scores(Path("x/head_mask.safetensors")))
    pixels = imread(BytesIO(base64.b64decode(drawn.image.partition(",")[2])))
    colour = colormaps["viridis"]
    # Layer 0 is below; the head that is not there has no colour.
    np.testing.assert_allclose(pixels[2], [colour(0.0), colour(0.25)], atol=0.005)
    np.testing.assert_allclose(pixels[0], [colour(0.75), colour(1.0)], atol=0.005)
    assert pixels[1, 1, 3] == 0
    assert drawn.frames == [(0, 0, 2, 0, 3.0), (1, 0, 2, 1, 4.0)]
    assert (drawn.low, drawn.high) == (0.0, 4.0)


def test_what_is_no_head_mask_is_refused():
    make_intervention(Path("x"))
    Path("x/head_mask.safetensors").write_bytes(b"no safetensors")
    with pytest.raises(UserError, match="could not be read"):
        read_head_scores(Path("x/head_mask.safetensors"))


def test_a_long_curve_is_thinned_to_means_that_fill_the_box():
    curve = draw_curve([(float(i), 1000.0 - i) for i in range(1000)], [(999.0, 1.0)])
    points = [tuple(map(float, point.split(","))) for point in curve.training.split()]
    assert len(points) == 240
    assert points[0] == (0.0, 0.0)
    assert all(x <= after and y <= below for (x, y), (after, below) in pairwise(points))
    assert curve.validation == [(100.0, 100.0)]


def test_the_page_draws_what_is_there_and_names_what_is_not():
    make_intervention(Path("runs/train_offsets/x"))
    evaluate("a")
    evaluate("b", "runs/train_offsets/gone", seed=2)
    with start_run(Path("out"), "compare", CompareConfig()) as run:
        compare(CompareConfig(runs=["runs"], num_resamples=100), run)
    page = Path("out/report.html").read_text()
    view = page.split('id="interventions"')[1]
    assert view.count("<image ") == 1
    assert view.count('class="frame"') == 2
    assert "<title>layer 2, head 1: 4</title>" in view
    assert view.count("<polyline") == 1
    assert view.count("<circle") == 2
    assert 'class="chosen"><td>15</td><td>0.15</td>' in view
    assert "runs/train_offsets/gone</code> is not there any more" in view
