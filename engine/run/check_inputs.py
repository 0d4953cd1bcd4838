"""Whether what a sweep names fits together: data, labels and files; told before anything runs."""

from __future__ import annotations

from engine.datasets.load import load_dataset
from engine.datasets.user_function import load_function
from engine.errors import SpecError
from engine.graph.inputs import Signature
from engine.models.files import check_fits
from engine.models.shapes import batch_text
from engine.spec.labels import step_label
from engine.spec.sections import Model
from engine.spec.steps import CURRENT, SELF, Distill, Prune, needs_labels
from engine.spec.sweep import LOSSES, Sweep


def check_inputs(sweep: Sweep) -> None:
    """All of this module; raises InputError."""
    check_labels(sweep)
    check_loss(sweep)
    check_files(sweep)
    check_taken(sweep)


def check_labels(sweep: Sweep) -> None:
    """Every step finds the labels or targets that it needs; raises SpecError."""
    values = sweep.data.task not in (None, "classification")
    imitates = sweep.loss == "imitation" or (values and sweep.loss is None)
    needy = next((s for r in sweep.all_recipes for s in r.steps if needs_labels(s, imitates)), None)
    if needy is None:
        return
    data = load_dataset(sweep.data)
    # Targets of any other kind than values are read by a loss of the user's own alone.
    own_loss = sweep.loss not in (None, "imitation", "task") and not isinstance(needy, Prune)
    if data.train.is_labelled or data.task == "regression" or (data.train.targets is not None and own_loss):
        return
    what, give = ("labels", "labels") if data.has_classes else ("targets that are values", "them")
    raise SpecError(
        f"{sweep.data.source} has no {what}, which {step_label(needy)} learns from; give {give}, or leave the step out: quantize "
        "needs none, finetune imitates the baseline with `loss: imitation`, and distill does with `student: current`"
    )


def check_loss(sweep: Sweep) -> None:
    """A loss of the user's own can be loaded; raises StepError, or DatasetError where its file is not there."""
    if sweep.loss is not None and sweep.loss not in LOSSES:
        load_function(sweep.loss, "loss")


def check_taken(sweep: Sweep) -> None:
    """Students of the network's own layers can be made of it; raises ModelError where a depth leaves none of them out.

    Builds the network, where the sweep has such a student.
    """
    depths = {s.depth for r in sweep.all_recipes for s in r.steps if isinstance(s, Distill) and s.is_taken}
    if not depths or sweep.model.is_onnx:
        return
    from engine.models.sources import load_network, taken_student  # torch, for these sweeps alone

    network = load_network(sweep.model, load_dataset(sweep.data))
    for depth in sorted(depths):
        taken_student(network, depth)


def check_files(sweep: Sweep) -> None:
    """The network and the teachers that come as graphs fit the dataset; raises ModelError. Torch networks are checked as they load."""
    teachers = [
        s.teacher
        for r in sweep.all_recipes
        for s in r.steps
        if isinstance(s, Distill) and s.teacher.endswith((".onnx", ".pt2"))
    ]
    models = [sweep.model] * sweep.model.is_onnx + [Model(source=teacher) for teacher in teachers]
    for model in dict.fromkeys(models):
        check_fits(model, load_dataset(sweep.data))
    if any(isinstance(s, Distill) and s.student not in (SELF, CURRENT) for r in sweep.all_recipes for s in r.steps):
        _check_students(sweep)


def _check_students(sweep: Sweep) -> None:
    """Networks of ours, which students are, read one array of floats; raises SpecError for other data."""
    shape = load_dataset(sweep.data).input_shape
    if isinstance(shape, Signature):
        raise SpecError(
            f"space: distill: built-in students read one array of floats, but the data have {batch_text(shape)}; write student: self or "
            "student: current, or leave the step out"
        )
