"""The benchmark beside the peers runs all of its rows, shows them, and fails where both sides disagree."""

import importlib
import importlib.util
import json
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

FOLDER = Path(__file__).parents[1] / "scripts" / "bench"
FEW = ("--questions", "2", "--lm-eval-questions", "2", "--pairs", "4", "--repeats", "1", "--matmul-size", "32")
PARTS = ("reference", "validation", "step-all", "step-late")


@pytest.fixture
def bench(model_dir, workplace, monkeypatch):
    """Run the script in this process, on the tiny model and benchmark."""
    pytest.importorskip("trl")
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    app = typer.Typer()
    app.command()(importlib.import_module("run").main)

    def run(*arguments):
        common = ["--model", str(model_dir), "--data-dir", "data", "--out", "out", *FEW]
        return CliRunner().invoke(app, [*common, *arguments])

    return run


def test_every_row_has_a_ratio_and_both_sides_find_the_same(bench):
    result = bench("--no-memory")
    assert result.exit_code == 0, result.output + result.stderr
    found = json.loads(Path("out/bench.json").read_text())
    rows = {(row["row"], row["dtype"]): row for row in found["rows"]}
    names = {name for name, _ in rows}
    assert {"scoring-2", "dpo-scale", "dpo-offsets", "dpo-late", *PARTS} <= names
    has_harness = importlib.util.find_spec("lm_eval") is not None
    assert ("lm-eval-2" in names, "lm-eval-2" in found["left_out"]) == (has_harness, not has_harness)
    assert len(rows) == 2 * len(names)
    for (name, dtype), row in rows.items():
        assert row["ratio"] > 0
        assert row["agrees"] is (True if dtype == "float32" and name not in PARTS[:2] else None), name
    assert all(speed > 0 for speed in found["matmul_gflops"].values())
    text = Path("out/bench.md").read_text()
    assert all(f"| {name} |" in text for name in names)
    assert Path("out/bench.png").read_bytes().startswith(b"\x89PNG")


def test_a_peer_that_finds_other_numbers_fails_the_row(bench, monkeypatch):
    rows = importlib.import_module("scoring_rows")
    right = rows.score_one_by_one
    # A nat of a whole answer, which is more than rounding in each of its tokens.
    monkeypatch.setattr(rows, "score_one_by_one", lambda *args: [[v + 1 for v in item] for item in right(*args)])
    result = bench("--no-memory", "--rows", "scoring", "--dtypes", "float32")
    assert (result.exit_code, "scoring-2" in result.stderr.splitlines()[-1]) == (1, True)
    assert json.loads(Path("out/bench.json").read_text())["rows"][0]["agrees"] is False


def test_a_peer_that_does_a_share_is_scaled_by_tokens(bench):
    assert bench("--no-memory", "--rows", "scoring", "--dtypes", "float32", "--peer-share", "0.5").exit_code == 0
    (row,) = json.loads(Path("out/bench.json").read_text())["rows"]
    (seconds,), (parts,) = row["peer_seconds"], row["peer_parts"]
    assert row["peer_questions"] == 1
    assert 1.5 < row["peer_seconds_scaled_by"] < 3
    assert seconds == pytest.approx(parts["measured"] * row["peer_seconds_scaled_by"])


@pytest.mark.parametrize("side", ["ours", "peer"])
def test_a_sides_memory_is_printed_as_json(bench, side):
    result = bench("--memory-of", f"step-all:{side}", "--dtypes", "float32")
    found = json.loads(result.stdout.splitlines()[-1])
    assert (found["row"], found["side"]) == ("step-all", side)
    assert found["weight_bytes"] > 0
    assert 0 <= found["bytes_above_weights"] < 100 * found["expected_bytes"]


@pytest.mark.slow
def test_memory_is_measured_in_a_process_of_its_own(bench, model_dir):
    options = ["--model", str(model_dir), "--data-dir", "data", *FEW]
    found = importlib.import_module("memory").measure_apart("scoring-2", "ours", "bfloat16", options)
    assert (found["row"], found["side"], found["dtype"]) == ("scoring-2", "ours", "bfloat16")
    assert 0 <= found["bytes_above_weights"] < 100 * found["expected_bytes"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--rows", "nothing"), "--rows nothing"),
        (("--questions", "0"), "--questions 0"),
        (("--questions", "9999", "--rows", "scoring"), "9999"),
        (("--heads", "3"), "LAYER.HEAD"),
        (("--heads", "99.0", "--rows", "dpo-offsets"), "99.0"),
        (("--peer-share", "2"), "--peer-share 2"),
        (("--memory-of", "scoring-2:both"), "both"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_a_sentence(bench, arguments, said):
    result = bench("--no-memory", *arguments)
    assert (result.exit_code, said in result.stderr.splitlines()[-1]) == (2, True), result.stderr


@pytest.fixture
def script(model_dir, workplace, monkeypatch):
    """Return the module of a script that builds models of its own, with the tiny tokenizer."""
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    monkeypatch.setattr(importlib.import_module("gpu"), "embedded_model_dir", lambda name: model_dir)
    return importlib.import_module


def test_the_job_for_a_gpu_runs_on_any_machine(script):
    out = Path("out/gpu.json")
    script("gpu").main(None, "cpu", "float32", 1, 64, 3, 64, out)
    found = json.loads(out.read_text())
    assert found["whole_job"] == pytest.approx(sum(found["seconds"].values()))
    assert 0 < found["share_of_peak_in_scoring"] < 1
    assert (found["device"], found["folds"], found["peak_memory_gb"]) == ("cpu", 1, None)


def test_each_axis_of_growth_has_an_exponent(script, model_dir, monkeypatch):
    scaling = script("scaling")
    few = {"QUESTIONS": (1, 2), "ROW_TOKENS": (64, 128), "ANSWERS": (1, 2), "HEADS": (1, 2), "COPIES": (1, 2)}
    for name, sizes in (few | {"SHAPES": {"a": (1, 64), "b": (2, 64)}, "FEW": 4}).items():
        monkeypatch.setattr(scaling, name, sizes)
    scaling.main(str(model_dir), None, 1, Path("out/scaling.json"))
    found = json.loads(Path("out/scaling.json").read_text())
    assert len(found) == 6
    for axis in found.values():
        assert all(seconds > 0 for seconds in axis["seconds"].values())
        assert -10 < axis["exponent"] < 10


def test_an_axis_whose_cost_is_its_size_squared_has_exponent_two(script, monkeypatch):
    scaling, now = script("scaling"), [0.0]
    monkeypatch.setattr(scaling.time, "perf_counter", lambda: now[0])
    axis = scaling.Axis("size", 2)
    for size in (1, 2, 4, 8):
        axis.measure(str(size), size, lambda size=size: now.append(now.pop() + 3.0 * size**2))
    assert axis.exponent == pytest.approx(2)
