"""A checkpoint that must not load, and the sentence that says so."""

import pytest

from lofit_cli.errors import UserError
from lofit_cli.models.load import load_model
from lofit_cli.schema.sources import ModelConfig


def refused(folder, *words, exit_code=2):
    with pytest.raises(UserError) as error:
        load_model(ModelConfig(folder))
    sentence = str(error.value)
    assert all(word in sentence for word in words), sentence
    assert (error.value.exit_code, sentence.count("\n")) == (exit_code, 0)
