"""What README shows from Python, with runs that the command line made."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

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
    assert {"ModelConfig", "load_intervention", "load_model"} <= set(dir(lofit_cli))
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


def test_an_intervention_of_another_model_or_of_nowhere_is_refused(model_dir):
    lm = lofit_cli.load_model(lofit_cli.ModelConfig(str(model_dir), dtype="float32"))
    with pytest.raises(UserError, match="run directory nowhere does not exist"):
        lofit_cli.load_intervention("nowhere", lm)
