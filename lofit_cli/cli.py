"""The `lofit` command: one thin Typer command per stage. Nothing heavy is imported until a stage runs."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

import lofit_cli
from lofit_cli.processes import is_leader
from lofit_cli.signals import stopped_by_signals

app = typer.Typer(
    help="Localized fine-tuning of attention heads (LoFiT): select heads, train offsets, evaluate, compare, export.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Settings: --cfg prints them, docs/configuration.md explains them."),
]
Multirun = Annotated[bool, typer.Option("--multirun", "-m", help="Run every combination of comma-separated values.")]
PrintConfig = Annotated[bool, typer.Option("--cfg", help="Print the composed config and stop.")]
PrintPlan = Annotated[
    bool,
    typer.Option("--plan", help="Print how long it would take and how much memory, from a short sample, and stop."),
]
ConfigDir = Annotated[str | None, typer.Option("--config-dir", help="A folder with more config files.")]

SHARED = ("select_heads", "train_offsets", "evaluate")
"""The stages whose work several processes may share."""


@app.callback(invoke_without_command=True)
def lofit(version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False) -> None:
    """Localized fine-tuning of attention heads (LoFiT): select heads, train offsets, evaluate, compare, export."""
    if version:
        typer.echo(f"lofit {lofit_cli.__version__}")
        raise typer.Exit


@app.command()
def select_heads(
    overrides: Overrides = None,
    multirun: Multirun = False,
    plan: PrintPlan = False,
    cfg: PrintConfig = False,
    config_dir: ConfigDir = None,
) -> None:
    """Score every attention head and select the best.

    Example: `lofit select-heads task=truthfulqa task.data_dir=data/truthfulqa num_heads=10%`
    """
    _run("select_heads", overrides, multirun, cfg, config_dir, plan)


@app.command()
def train_offsets(
    overrides: Overrides = None,
    multirun: Multirun = False,
    plan: PrintPlan = False,
    cfg: PrintConfig = False,
    config_dir: ConfigDir = None,
) -> None:
    """Train an offset vector on each selected head.

    Example: `lofit train-offsets head_mask=latest trainer.learning_rate=1e-2`
    """
    _run("train_offsets", overrides, multirun, cfg, config_dir, plan)


@app.command()
def evaluate(
    overrides: Overrides = None,
    multirun: Multirun = False,
    plan: PrintPlan = False,
    cfg: PrintConfig = False,
    config_dir: ConfigDir = None,
) -> None:
    """Score a split with an intervention, or with none.

    Example: `lofit evaluate -m intervention=none,latest`
    """
    _run("evaluate", overrides, multirun, cfg, config_dir, plan)


@app.command()
def compare(
    overrides: Overrides = None, multirun: Multirun = False, cfg: PrintConfig = False, config_dir: ConfigDir = None
) -> None:
    """Set evaluated runs side by side, with intervals and paired tests; runs of other seeds and folds are pooled.

    Example: `lofit compare 'runs=[runs/evaluate/*]'`
    """
    _run("compare", overrides, multirun, cfg, config_dir)


@app.command()
def describe(overrides: Overrides = None, multirun: Multirun = False, cfg: PrintConfig = False) -> None:
    """Say what an intervention changes on text that has nothing to do with its task, beside controls.

    Example: `lofit describe intervention=runs/train_offsets/RUN 'controls=[runs/train_offsets/OTHER]'`
    """
    _run("describe", overrides, multirun, cfg, None)


@app.command()
def generate(overrides: Overrides = None, cfg: PrintConfig = False) -> None:
    r"""Answer a prompt, or each line of standard input, without and with an intervention, side by side.

    Example: `lofit generate intervention=latest prompt='Q: Can penguins fly?\nA:'`
    """
    _run("generate", overrides, False, cfg, None)


@app.command()
def export(
    overrides: Overrides = None, multirun: Multirun = False, cfg: PrintConfig = False, config_dir: ConfigDir = None
) -> None:
    """Write an intervention as weights, an adapter or vectors that other programs load, and prove that it is the same.

    Example: `lofit export intervention=runs/train_offsets/RUN to=hf out=my-model`
    """
    _run("export", overrides, multirun, cfg, config_dir)


@app.command()
def doctor(overrides: Overrides = None, cfg: PrintConfig = False) -> None:
    """Check the machine and a model before a long run: a line a check, exit code 1 where one has failed.

    Example: `lofit doctor model=hub model.id=Qwen/Qwen2.5-0.5B`
    """
    _run("doctor", overrides, False, cfg, None)


@app.command()
def runs(
    filters: Annotated[
        list[str] | None, typer.Argument(metavar="FILTER", help="A word, FIELD=VALUE, or runs_dir=FOLDER.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Remove those that failed or are superseded; asks.")] = False,
) -> None:
    """List runs: how they ended and what they measured.

    Example: `lofit runs stage=evaluate status=finished`
    """
    from lofit_cli.stages.runs import list_runs, prunable, remove_runs

    with _explained("lofit runs"):
        useless = prunable(list_runs(filters or [], as_json))
        if prune and useless and typer.confirm(f"Remove {len(useless)} failed or superseded runs?", err=True):
            remove_runs(useless)


@app.command()
def cache(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    clear: Annotated[bool, typer.Option("--clear", help="Remove all of it, but no downloaded model; asks.")] = False,
) -> None:
    """List what was computed once and is kept for other runs.

    Example: `lofit cache --clear`
    """
    from lofit_cli.stages.cache import clear_cache, list_cache

    with _explained("lofit cache"):
        entries = list_cache(as_json)
        if clear and entries and typer.confirm(f"Remove {len(entries)} entries?", err=True):
            clear_cache()


@contextmanager
def _explained(command: str) -> Iterator[None]:
    """Say in a sentence what ends a command of one process, inside a `with` block."""
    from lofit_cli.errors import UserError
    from lofit_cli.hydra_errors import for_people
    from lofit_cli.processes import require_one_process

    try:
        require_one_process(command)
        yield
    except (UserError, OSError) as error:
        told = for_people(error)
        _say(str(told))
        sys.exit(told.exit_code)


def _run(
    stage: str, overrides: list[str] | None, multirun: bool, cfg: bool, config_dir: str | None, plan: bool = False
) -> None:
    with stopped_by_signals() as asked_to_stop:
        try:
            _run_stage(stage, overrides or [], multirun, cfg, config_dir, plan)
        except BaseException as stopped:
            # Stopped while importing, a library may turn the interrupt into an error of its own.
            if not asked_to_stop:
                raise
            kept = str(stopped) if isinstance(stopped, KeyboardInterrupt) else ""
            if is_leader():
                _say(f"interrupted; {kept or 'no run was under way'}")
            sys.exit(130)


def _run_stage(stage: str, overrides: list[str], multirun: bool, cfg: bool, config_dir: str | None, plan: bool) -> None:
    from lofit_cli.console import leave_the_word, show_text
    from lofit_cli.errors import UserError
    from lofit_cli.hydra_app import plan_stage, run_at_once, run_stage
    from lofit_cli.hydra_config import compose_yaml
    from lofit_cli.processes import require_one_process

    if not is_leader():
        leave_the_word()
    try:
        if plan or cfg or stage not in SHARED:
            require_one_process("--plan" if plan else "--cfg" if cfg else f"lofit {stage}")
        if cfg and multirun:
            raise UserError("--cfg shows one point of a sweep: leave -m out and give each key one value")
        if cfg:
            show_text(compose_yaml(stage, overrides, config_dir))
        elif plan:
            plan_stage(stage, overrides, multirun, config_dir)
        elif stage in ("generate", "doctor"):
            run_at_once(stage, overrides)
        else:
            run_stage(stage, overrides, multirun, config_dir)
    except UserError as error:
        if is_leader() or not error.is_shared:
            _say(str(error))
        sys.exit(error.exit_code)


def _say(message: str) -> None:
    """Say how a command ended; of several processes each has its own reason."""
    from lofit_cli.console import console, say
    from lofit_cli.processes import num_processes, process_number

    who = "lofit" if is_leader() else f"lofit, process {process_number() + 1} of {num_processes()}"
    console.quiet = False
    say(f"{who}: {message}")


if __name__ == "__main__":
    app()
