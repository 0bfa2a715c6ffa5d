"""Ways to make an intervention. A method is a function that makes one; adding one is a file and a line here."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from lofit_cli.artifacts.run_dir import RunDir
from lofit_cli.errors import UserError
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.methods.bipo import make_bipo
from lofit_cli.methods.bitfit import make_bitfit
from lofit_cli.methods.caa import make_caa
from lofit_cli.methods.dola import make_dola
from lofit_cli.methods.file import make_from_file
from lofit_cli.methods.full import make_full
from lofit_cli.methods.icl import make_icl
from lofit_cli.methods.iti import make_iti
from lofit_cli.methods.jola import make_jola
from lofit_cli.methods.lofit import make_lofit
from lofit_cli.methods.loreft import make_loreft
from lofit_cli.methods.peft import make_peft
from lofit_cli.methods.prefix import make_prefix
from lofit_cli.methods.prompt import make_prompt
from lofit_cli.methods.proxy import make_proxy
from lofit_cli.methods.random_offset import make_random_offset
from lofit_cli.methods.red import make_red
from lofit_cli.methods.repe import make_repe
from lofit_cli.methods.sadi import make_sadi
from lofit_cli.methods.sea import make_sea
from lofit_cli.methods.sink import make_sink
from lofit_cli.methods.sink_bias import make_sink_bias
from lofit_cli.models.language_model import LanguageModel
from lofit_cli.plugins import look_up
from lofit_cli.schema.components import MethodConfig
from lofit_cli.schema.methods import METHOD_CONFIGS
from lofit_cli.schema.stages import TrainOffsetsConfig
from lofit_cli.tasks.task import Task


class Method(NamedTuple):
    """A way to make an intervention.

    Attributes:
        make: takes a head mask (num_layers, max_heads), which selects every head where the method takes none.
        takes_heads: whether it works on the heads of a selection.
        edits_parts: whether it works where each process has a part of the model.
        trains: whether it is trained, by the trainer's settings; one that is not fits a statistic, tries or takes over.
    """

    make: Callable[[LanguageModel, Task[Any], TrainOffsetsConfig, Tensor, RunDir], Intervention]
    takes_heads: bool = False
    edits_parts: bool = False
    trains: bool = True


METHODS: dict[str, Method] = {
    "bipo": Method(make_bipo, edits_parts=True),
    "bitfit": Method(make_bitfit),
    "caa": Method(make_caa, edits_parts=True, trains=False),
    "dola": Method(make_dola, trains=False),
    "file": Method(make_from_file, edits_parts=True, trains=False),
    "full": Method(make_full),
    "icl": Method(make_icl, edits_parts=True, trains=False),
    "iti": Method(make_iti, takes_heads=True, edits_parts=True, trains=False),
    "jola": Method(make_jola, edits_parts=True),
    "lofit": Method(make_lofit, takes_heads=True, edits_parts=True),
    "lora": Method(make_peft),
    "loreft": Method(make_loreft, edits_parts=True),
    "peft": Method(make_peft),
    "prefix": Method(make_prefix),
    "prompt": Method(make_prompt),
    "proxy": Method(make_proxy, trains=False),
    "random_offset": Method(make_random_offset, edits_parts=True, trains=False),
    "red": Method(make_red),
    "repe": Method(make_repe, edits_parts=True, trains=False),
    "sadi": Method(make_sadi, takes_heads=True, edits_parts=True, trains=False),
    "sea": Method(make_sea, trains=False),
    "sink": Method(make_sink, takes_heads=True, trains=False),
    "sink_bias": Method(make_sink_bias, takes_heads=True),
}


def get_method(config: MethodConfig) -> Method:
    """Return the method that a config names, refusing a name that the config's settings are not for."""
    method = look_up("methods", config.name, METHODS, "method.name")
    if not isinstance(method, Method):
        raise UserError(
            f"method.name={config.name} stands for a {type(method).__name__}, not a Method; mend its package"
        )
    if not isinstance(config, METHOD_CONFIGS.get(config.name, MethodConfig)):
        raise UserError(f"method.name={config.name} has settings of its own; write method={config.name} instead")
    return method
