"""Why a library could not read a checkpoint, in a sentence."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lofit_cli.errors import RunError, UserError
from lofit_cli.schema.sources import ModelConfig


@contextmanager
def unreadable_explained(config: ModelConfig, source: str) -> Iterator[None]:
    """Explain what a library raises for files that it can't read, inside a `with` block."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # it has no base in common
        raise _explain(error, config, source)


def _explain(error: Exception, config: ModelConfig, source: str) -> RunError:
    """Return why a library could not read a checkpoint, and what to do."""
    reason = re.split(r"\n|(?<=\.) ", str(error).strip())[0]
    remedy = "check the name, the files or the network"
    if "dispatched on the CPU" in str(error):
        reason = "its weights have no room on the accelerators, and those of bitsandbytes stay there"
        remedy = "choose a smaller model, model.quantization=nf4, or one of torchao's with model.device_map=auto"
    elif "trust_remote_code" in str(error):
        reason, remedy = "it needs code of its own, which is never run", "choose a model that transformers knows"
    elif isinstance(error, OSError) and any(Path(source).glob("*.bin")):
        reason, remedy = "its weights are in a .bin file, which can hold code", "convert them to safetensors"
    elif "automatic conversion of the weights" in str(error) and config.quantization:
        reason, remedy = f"not all its weights can be made {config.quantization}", "choose another model.quantization"
    elif "automatic conversion of the weights" in str(error):
        reason = "some weights that belong together, as those of a layer's experts, are missing or differ in shape"
    elif not isinstance(error, OSError | ValueError | RuntimeError | ImportError):
        reason = f"{type(error).__name__}: {reason}"
    return RunError(f"model.id={config.id} could not be loaded ({reason}); {remedy}")
