"""Whether what a sweep names fits together: data, labels and files; told before anything runs."""

from __future__ import annotations

from engine.datasets.load import load_dataset
from engine.errors import SpecError
from engine.models.files import check_fits
from engine.spec.labels import step_label
from engine.spec.steps import Distill, needs_labels
from engine.spec.sweep import Sweep


def check_labels(sweep: Sweep) -> None:
    """Every step finds the labels that it needs; raises SpecError."""
    needy = next((s for r in sweep.all_recipes for s in r.steps if needs_labels(s)), None)
    if needy is not None and not load_dataset(sweep.data).train.is_labelled:
        raise SpecError(
            f"{sweep.data.source} has no labels, which {step_label(needy)} learns from; give labels, or leave the step out: quantize needs "
            "none, and distill with `student: current` imitates the baseline"
        )


def check_files(sweep: Sweep) -> None:
    """The network and the teachers that come as graphs fit the dataset; raises ModelError. Torch networks are checked as they load."""
    teachers = [
        s.teacher
        for r in sweep.all_recipes
        for s in r.steps
        if isinstance(s, Distill) and s.teacher.endswith((".onnx", ".pt2"))
    ]
    for source in dict.fromkeys([sweep.model.source] * sweep.model.is_onnx + teachers):
        check_fits(source, load_dataset(sweep.data))
