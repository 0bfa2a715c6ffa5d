"""Edits of a frozen model, as values that can be attached in a `with` block, saved and loaded."""

from lofit_cli.interventions.bias_edit import BiasEdit
from lofit_cli.interventions.contrast_edit import ContrastEdit
from lofit_cli.interventions.demonstrations import Demonstrations
from lofit_cli.interventions.head_edit import HeadEdit
from lofit_cli.interventions.intervention import Intervention
from lofit_cli.interventions.layer_contrast import LayerContrast
from lofit_cli.interventions.peft_edit import PeftEdit
from lofit_cli.interventions.prefix_edit import PrefixEdit
from lofit_cli.interventions.projection_edit import ProjectionEdit
from lofit_cli.interventions.proxy_edit import ProxyEdit
from lofit_cli.interventions.residual_edit import DirectionEdit, DirectionsEdit, LowRankEdit
from lofit_cli.interventions.sink_edit import SinkEdit
from lofit_cli.interventions.soft_prompt import SoftPrompt
from lofit_cli.interventions.weights_edit import WeightsEdit

INTERVENTIONS: dict[str, type[Intervention]] = {
    edit.kind: edit
    for edit in (
        BiasEdit,
        ContrastEdit,
        Demonstrations,
        DirectionEdit,
        DirectionsEdit,
        HeadEdit,
        LayerContrast,
        LowRankEdit,
        PeftEdit,
        PrefixEdit,
        ProjectionEdit,
        ProxyEdit,
        SinkEdit,
        SoftPrompt,
        WeightsEdit,
    )
}
