"""What the stages that show or export results state of themselves, and the type of every stage's manifest."""

from dataclasses import dataclass
from typing import Any

from lofit_cli.artifacts.manifest import EvaluateManifest, Manifest, SelectHeadsManifest, TrainOffsetsManifest


@dataclass(frozen=True, kw_only=True)
class CompareManifest(Manifest):
    """A run of `compare`."""

    STAGE = "compare"

    sections: list[dict[str, Any]]
    runs: list[str]


@dataclass(frozen=True, kw_only=True)
class ExportManifest(Manifest):
    """A run of `export`.

    Attributes:
        form: how the intervention was written.
        dtype: of the numbers that were written.
        largest_difference: between the export and the edited model, of a token's log-probability in nats, in float32.
        effect: the largest that the edit itself makes.
        dtype_difference: the same of the weights as they were written, where these are not in float32.
    """

    STAGE = "export"

    model: str
    model_hash: str
    method: str
    intervention: str
    to: str
    out: str
    form: str
    dtype: str
    largest_difference: float
    effect: float
    dtype_difference: float | None


@dataclass(frozen=True, kw_only=True)
class DescribeManifest(Manifest):
    """A run of `describe`.

    Attributes:
        intervention, controls: the runs of train-offsets that were described.
        text: where the texts come from that they were described on.
        text_hash: of these texts as they were read.
        layer: after which their differences were read.
    """

    STAGE = "describe"

    model: str
    model_hash: str
    method: str
    task: str
    intervention: str
    controls: list[str]
    text: str
    text_hash: str
    layer: int


MANIFESTS: dict[str, type[Manifest]] = {
    kind.STAGE: kind
    for kind in (
        SelectHeadsManifest,
        TrainOffsetsManifest,
        EvaluateManifest,
        CompareManifest,
        DescribeManifest,
        ExportManifest,
    )
}
