"""Whether a long run would go well on this machine with this model: a line a check; no run is written."""

from collections.abc import Iterable

from lofit_cli.console import show_text, visible
from lofit_cli.doctor.finding import Finding
from lofit_cli.doctor.model_checks import check_model
from lofit_cli.doctor.surroundings import check_surroundings
from lofit_cli.errors import RunError
from lofit_cli.models.kept import load_model_once
from lofit_cli.models.memory import memory_explained
from lofit_cli.schema.stages import DoctorConfig

WIDTH = 16


def doctor(config: DoctorConfig) -> None:
    """Check the surroundings, then the model, and print each finding as soon as it is there.

    Raises:
        UserError: the model can't be loaded.
        RunError: a check has failed; or the model needs more memory than there is, and is not loaded then.
    """
    failed = _show(check_surroundings(config.model, config.runs_dir))
    if "memory" in failed:
        raise RunError("the model is not loaded, because it does not fit; the line on memory says what to do")
    with memory_explained(config.model):
        failed += _show(check_model(load_model_once(config.model)))
    if failed:
        checks = f"{len(failed)} check{'s' * (len(failed) > 1)} failed ({', '.join(failed)})"
        raise RunError(f"{checks}; do what the line says, then check again")


def _show(findings: Iterable[Finding]) -> list[str]:
    """Print findings one by one; return the names of those checks that have failed."""
    failed = []
    for finding in findings:
        show_text(f"{finding.check:{WIDTH}} {finding.verdict:8} {visible(finding.found)}\n")
        if finding.verdict == "FAILED":
            failed.append(finding.check)
    return failed
