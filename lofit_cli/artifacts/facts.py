"""Facts for manifests: those that set runs apart, and those that a stage's manifest has a field for."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, get_type_hints

from lofit_cli.artifacts.manifest import EvaluateManifest
from lofit_cli.artifacts.result_manifests import MANIFESTS
from lofit_cli.artifacts.typed import UnfitError, fit


def separating(meaning: Mapping[str, str]) -> list[str]:
    """Return the facts of an evaluation whose metadata says this."""
    return [known.name for known in fields(EvaluateManifest) if known.metadata == meaning]


LOADED = ("dtype", "quantization", "first_tokens", "chat_template", "system_prompt")
"""The facts that say how a model was loaded and asked, which shapes what is learnt with it."""


def loaded(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return how a run's model was loaded and asked."""
    return {name: facts[name] for name in LOADED}


def require_facts(stage: str, facts: Mapping[str, Any]) -> None:
    """Refuse facts that the manifest of a stage has no field for, or of another type: a mistake in the stage.

    Raises:
        TypeError: there is one.
    """
    hints = get_type_hints(MANIFESTS[stage])
    for name, value in facts.items():
        if name not in hints:
            raise TypeError(f"{MANIFESTS[stage].__name__} has no field {name}")
        try:
            fit(name, value, hints[name])
        except UnfitError as error:
            raise TypeError(f"{MANIFESTS[stage].__name__}: a run {error}")
