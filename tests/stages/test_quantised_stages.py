"""Quantised runs through the command line: they are never mixed with others, and never exported."""

from importlib.util import find_spec
from pathlib import Path

import pytest
from stage_runs import FAST, manifest, ok, only_run
from typer.testing import CliRunner

from lofit_cli.cli import app

pytestmark = pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
NF4 = "model.quantization=nf4"


@pytest.fixture
def trained(lofit):
    """A selection and an intervention on a base in four bits."""
    ok(lofit("select-heads", NF4, "num_heads=3", *FAST))
    ok(lofit("train-offsets", NF4, *FAST))
    return lofit


def said(result):
    return " ".join(result.stderr.split())


def test_quantised_and_whole_runs_stand_in_tables_of_their_own(trained):
    ok(trained("evaluate", "-m", NF4, "intervention=none,latest"))
    ok(trained("evaluate", "intervention=none"))
    facts = [manifest(folder) for folder in Path("runs/evaluate").iterdir() if (folder / "manifest.json").exists()]
    assert sorted(str(found["quantization"]) for found in facts) == ["None", "nf4", "nf4"]
    assert {found["batching"] for found in facts} == {"packed"}
    shown = ok(trained("compare"))
    sections = manifest(only_run("compare"))["sections"]
    assert sorted(str(section["quantization"]) for section in sections) == ["None", "nf4"]
    words = " ".join(shown.stdout.split())
    assert words.count("(float32, quantised to nf4) on truthfulqa") == words.count("(float32) on truthfulqa") == 1


def test_an_intervention_is_refused_on_the_other_of_two_bases(trained):
    folder = only_run("train_offsets")
    refused = trained("evaluate", f"intervention={folder}")
    assert refused.exit_code == 2
    assert "was trained with model.quantization=nf4, and with model.quantization=none the model has" in said(refused)
    assert "no finished train_offsets run with" in said(trained("evaluate"))
    assert "differs in quantization only" in said(trained("evaluate"))


def test_an_intervention_of_a_quantised_base_is_not_exported(trained):
    refused = trained("export", "to=hf", "out=there", f"intervention={only_run('train_offsets')}")
    assert refused.exit_code == 2
    assert "is quantised to nf4 in this run, and an edit can't be put into its weights exactly" in said(refused)
    assert not Path("there").exists()


def test_a_quantised_base_answers_with_and_without_its_intervention(trained):
    shown = ok(CliRunner().invoke(app, ["generate", "prompt=Which number?", "max_new_tokens=3"]))
    assert "base model" in shown.stdout


@pytest.mark.skipif(find_spec("torchao") is None, reason="torchao is not installed")
def test_widths_that_a_quantisation_has_no_groups_for_are_refused_in_a_sentence(lofit):
    refused = lofit("evaluate", "intervention=none", "model.quantization=torchao-int4")
    assert refused.exit_code == 1
    assert "(not all its weights can be made torchao-int4); choose another model.quantization" in said(refused)


def test_the_doctor_checks_a_quantised_base_but_for_what_it_has_no_place_for(model_dir):
    shown = ok(CliRunner().invoke(app, ["doctor", "model=hub", f"model.id={model_dir}", NF4]))
    words = " ".join(shown.output.split())
    assert "the weights are quantised, so that nothing can be folded into them; not checked" in words
    assert "gradient ok it reaches the offsets of 12 of 12 heads" in words
