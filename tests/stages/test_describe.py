"""`lofit describe`, run through the command line on a tiny model."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from refusals import refused
from stage_runs import FAST, manifest, ok, only_run
from tiny_models import build_model, build_tokenizer

TEXTS = "\n".join(f"This is text {i} of all, and it is about the number {i * i}." for i in range(6))
SHORT = ("num_continued=2", "max_new_tokens=3", "top_k=20", "strengths=[1.0,3.0]")
RATE = "trainer.learning_rate=0.3"


@pytest.fixture
def trained(lofit):
    """Runs of LoFiT and of LoRA on the small benchmark, and a file of texts."""
    Path("heads.json").write_text("[[0, 1], [2, 3]]")
    Path("texts.txt").write_text(TEXTS)
    ok(lofit("train-offsets", "head_mask=heads.json", RATE, *FAST, "hydra.run.dir=runs/train_offsets/lofit"))
    ok(lofit("train-offsets", "method=lora", RATE, *FAST, "hydra.run.dir=runs/train_offsets/lora"))
    return lofit


def describe(lofit, *words):
    return lofit("describe", *SHORT, *words)


def found_in(folder):
    return json.loads((folder / "description.json").read_text())


def test_a_run_stands_beside_another_one_and_random_directions(trained):
    said = ok(
        describe(
            trained, "intervention=runs/train_offsets/lofit", "controls=[runs/train_offsets/lora]", "text=texts.txt"
        )
    )
    folder = only_run("describe")
    found = found_in(folder)
    assert [row["kind"] for row in found["rows"]] == ["run", "control", "null"]
    assert [row["label"] for row in found["rows"]] == [
        "lofit, truthfulqa, seed 42",
        "lora, truthfulqa, seed 42",
        "random directions",
    ]
    assert (found["texts"]["num_texts"], found["texts"]["num_continued"], found["layer"]) == (6, 2, 1)
    for i, row in enumerate(found["rows"]):
        assert found["cosines"][i][i] == pytest.approx(1)
        assert sum(row["shift"][kind] for kind in ("unshifted", "marginal", "shifted")) == pytest.approx(1)
        assert [len(row["norms"]), len(row["norms"][0]), len(row["units"])] == [3, 5, 3]
        assert all(length > 0 for lengths in row["norms"] for length in lengths)
        assert len(row["lenses"]) == 6
        assert {"lens", "mining", "patchscope"} == {*row["answer_shares"]}
        assert [reading["strength"] for reading in row["readings"]] == [1, 3]
    assert [len(row["offsets"]) for row in found["rows"]] == [2, 0, 2]
    assert found["num_over_represented"] > 0
    facts = manifest(folder)
    assert facts["status"] == "finished"
    assert (facts["method"], facts["controls"], facts["text"]) == ("lofit", ["runs/train_offsets/lora"], "texts.txt")
    assert "random directions" in said.stdout
    assert "over-represented in its training answers" in " ".join(said.stdout.split())


def test_what_is_written_is_there_and_agrees(trained):
    ok(describe(trained, "text=texts.txt"))
    folder = only_run("describe")
    found = found_in(folder)
    for name in ("differences.png", "divergence.png", "description.md", "description.tex", "description.html"):
        assert (folder / name).stat().st_size > 0
    tables = {
        name: list(csv.DictReader((folder / f"{name}.csv").open()))
        for name in ("description", "tokens", "differences", "divergence", "cosines")
    }
    # The newest run is LoRA's, which has no vectors to draw at random.
    assert [row["label"] for row in tables["description"]] == ["lora, truthfulqa, seed 42"]
    assert len(tables["differences"]) == 3 * 5
    assert [float(row["kl"]) for row in tables["divergence"]] == found["rows"][0]["shift"]["kl"]
    assert [row["positions"] for row in tables["cosines"]] == ["1 2 3 4", "0", "1", "2", "3", "4"]
    assert [float(row["cosine"]) for row in tables["cosines"]] == pytest.approx([1] * 6)
    raised = [row for row in tables["tokens"] if row["list"] == "lens, raised" and not row["position"]]
    assert [int(row["id"]) for row in raised] == [token["id"] for token in found["rows"][0]["lenses"][0]["raised"]]


def test_the_same_command_gives_the_same_numbers(trained):
    for name in ("a", "b"):
        ok(describe(trained, "text=texts.txt", "intervention=runs/train_offsets/lofit", f"hydra.run.dir=runs/{name}"))
    assert found_in(Path("runs/a")) == found_in(Path("runs/b"))


def test_what_was_described_before_leaves_nothing_behind(trained):
    lofit_first = "intervention=runs/train_offsets/lofit", "controls=[runs/train_offsets/lora]"
    lora_first = "intervention=runs/train_offsets/lora", "controls=[runs/train_offsets/lofit]"
    for name, runs in (("a", lofit_first), ("b", lora_first)):
        ok(describe(trained, "text=texts.txt", *runs, f"hydra.run.dir=runs/{name}"))
    a, b = ({row["method"]: row for row in found_in(Path(f"runs/{name}"))["rows"][:2]} for name in ("a", "b"))
    for method in ("lofit", "lora"):
        assert a[method] | {"kind": ""} == b[method] | {"kind": ""}


def test_without_a_file_our_own_texts_of_another_task_are_read(trained):
    ok(describe(trained, "num_texts=8"))
    found = found_in(only_run("describe"))
    assert found["texts"]["source"] == "family stories of task 'kinship'"
    assert found["texts"]["num_texts"] == 8


def test_where_the_training_answers_are_gone_the_rest_is_said(trained):
    shutil.rmtree("data")
    said = ok(describe(trained, "text=texts.txt"))
    found = found_in(only_run("describe"))
    assert "the training answers of runs/train_offsets/lora are not known" in said.stderr
    assert found["note"]
    assert [row["answer_shares"] for row in found["rows"]] == [{}]


def write_other_model():
    model = build_model("llama")
    model.lm_head.weight += 1
    model.save_pretrained("other")
    build_tokenizer().save_pretrained("other")


def test_a_control_on_another_model_is_refused(trained):
    write_other_model()
    other = ("model.id=other", "method=lora", *FAST, "hydra.run.dir=runs/train_offsets/other")
    ok(trained("train-offsets", *other))
    runs = ("intervention=runs/train_offsets/lofit", "controls=[runs/train_offsets/other]")
    refused = describe(trained, "text=texts.txt", *runs)
    assert refused.exit_code == 2
    assert "controls=runs/train_offsets/other was trained on model 'other' and" in " ".join(refused.stderr.split())


def test_a_run_whose_model_has_changed_is_refused(trained, model_dir):
    write_other_model()
    shutil.copytree(model_dir, "mine")
    ok(trained("train-offsets", "model.id=mine", "method=lora", *FAST, "hydra.run.dir=runs/train_offsets/mine"))
    shutil.copytree("other", "mine", dirs_exist_ok=True)
    refused = describe(trained, "text=texts.txt", "intervention=runs/train_offsets/mine")
    assert refused.exit_code == 2
    assert "was trained on model 'mine' and 'mine' has other weights" in " ".join(refused.stderr.split())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("text=none.txt",), "text=none.txt could not be read"),
        (("text=empty.txt",), "text=empty.txt is empty; give one text a line"),
        (("text=",), "text= is empty"),
        (("controls=[nowhere]",), "controls: run directory nowhere does not exist"),
        (("intervention=data",), "intervention: run directory data has no manifest.json"),
        (("layer=3",), "layer=3 is not allowed: model"),
        (("layer=-1",), "layer=-1 is not allowed"),
        (("num_texts=0",), "num_texts=0 is not allowed"),
        (("positions=[5]",), "positions=5 is not allowed; it must be 0 to 4"),
        (("positions=[1,1]",), "positions=[1, 1] is not allowed"),
        (("strengths=[]",), "strengths=[] is not allowed"),
        (("strengths=[0.0]",), "strengths=0.0 is not allowed"),
        (("max_new_tokens=5000", "text=texts.txt"), "tokens with its prompt and answer"),
        (("controls=['']",), "controls= is empty"),
        (("contrls=[a]",), "did you mean 'controls'"),
    ],
)
def test_what_cannot_be_described_is_refused_in_a_sentence(words, sentence, trained):
    Path("empty.txt").write_text(" \n\n")
    refused = describe(trained, *words)
    assert refused.exit_code == 2
    said = " ".join(refused.stderr.split())
    assert sentence in said
    assert "Traceback" not in said


def test_more_tokens_than_the_model_has_are_refused(trained):
    words = ("describe", "intervention=runs/train_offsets/lofit", "text=texts.txt", "top_k=100000")
    refused(trained(*words), "top_k=100000 is not allowed: model")


@pytest.mark.parametrize("words", [("describe",), ("generate", "prompt=x"), ("export", "to=hf", "out=x")])
def test_the_model_as_it_is_has_nothing_to_show(lofit, words):
    said = "intervention=none stands for the model as it is, which only evaluate takes; name a finished run"
    refused(lofit.alone(words[0], "intervention=none", *words[1:]), said)
