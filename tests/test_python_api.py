"""What README shows from Python, with runs that the command line made."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from stage_runs import FAST, manifest

import lofit_cli
from lofit_cli.errors import UserError

PROMPTS = ["Q: Can penguins fly?\nA:", "Q: What follows 3?\nA:"]
CANDIDATES = ("method.alphas=[9.0]", "method.layers=[1]")
METHODS = {
    "iti": ("method=iti", "method.alphas=[30.0]", "head_mask=heads.json"),
    "caa": ("method=caa", *CANDIDATES),
    "contrast": ("method=repe", "method.vector=contrast", *CANDIDATES),
    "icl": ("method=icl", "method.num_examples=2"),
    "loreft": ("method=loreft", "trainer.num_epochs=1"),
}


def test_what_is_offered_is_imported_when_it_is_asked_for():
    code = (
        "import sys, lofit_cli, lofit_cli.cli; assert not {'torch', 'transformers'} & set(sys.modules); "
        "from lofit_cli import ModelConfig, load_intervention, load_model; assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert {"ModelConfig", "load_intervention", "load_model", "generate", "compare"} <= set(dir(lofit_cli))
    with pytest.raises(AttributeError, match="no attribute 'load_modle'"):
        getattr(lofit_cli, "load_" + "modle")


@pytest.mark.parametrize("name", METHODS)
def test_the_example_of_readme_works_with_every_method_of_some_positions(name, lofit, model_dir):
    Path("heads.json").write_text("[[0, 1], [2, 3]]")
    assert lofit("train-offsets", *METHODS[name], "hydra.run.dir=runs/x").exit_code == 0
    lm = lofit_cli.load_model(str(model_dir))
    edit, about = lofit_cli.load_intervention("runs/x", lm)
    assert about["method"] == METHODS[name][0].removeprefix("method=")
    plain = lm.generate(PROMPTS, max_new_tokens=8)
    ids = lm.tokenizer(PROMPTS[0], return_tensors="pt")["input_ids"]
    with edit.attach(lm):
        edited = lm.generate(PROMPTS, max_new_tokens=8)
        with pytest.raises(UserError, match=r"call lm\.generate"):
            lm.model.generate(ids, max_new_tokens=8)
        with pytest.raises(UserError, match=r"call lm\.generate"), torch.no_grad():
            lm.model(input_ids=ids)
    assert len(edited) == len(PROMPTS)
    assert edited != plain
    assert lm.generate(PROMPTS, max_new_tokens=8) == plain


def test_stages_are_functions_with_the_settings_of_the_command_line(lofit, model_dir):
    settings = ("model=hub", f"model.id={model_dir}", "model.dtype=float32", "task=truthfulqa", "task.data_dir=data")
    heads = lofit_cli.select_heads(*settings, "selector=random", "num_heads=2")
    trained = lofit_cli.train_offsets(*settings, *FAST, "trainer.learning_rate=1.0")
    measured = [lofit_cli.evaluate(*settings, f"intervention={name}") for name in ("none", "latest")]
    compared = lofit_cli.compare(f"runs={list(map(str, measured))}")
    assert Path(manifest(trained)["head_mask"]).resolve() == heads / "head_mask.safetensors"
    assert [manifest(run)["method"] for run in measured] == ["none", "lofit"]
    assert (compared / "report.html").exists()
    lm = lofit_cli.load_model(lofit_cli.ModelConfig(str(model_dir), dtype="float32"))
    edit, _ = lofit_cli.load_intervention(trained, lm)
    base, edited = (lofit_cli.generate(lm, PROMPTS, given, 6) for given in (None, edit))
    assert base == lm.generate(PROMPTS, 6) != edited
    with edit.attach(lm):
        assert edited == lm.generate(PROMPTS, 6)
    with pytest.raises(UserError, match="unknown key 'nmu_heads'"):
        lofit_cli.select_heads("nmu_heads=3")


def test_an_intervention_of_another_model_or_of_nowhere_is_refused(model_dir):
    lm = lofit_cli.load_model(lofit_cli.ModelConfig(str(model_dir), dtype="float32"))
    with pytest.raises(UserError, match="run directory nowhere does not exist"):
        lofit_cli.load_intervention("nowhere", lm)
