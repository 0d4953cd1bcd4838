"""What broke: a recipe against its baseline by class, by confusion, in calibration, and sample by sample."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import streamlit as st

from engine.export import tables as table_export
from engine.figures.what_broke import (
    class_alt,
    class_figure,
    confusion_alt,
    confusion_figure,
    reliability_alt,
    reliability_figure,
)
from engine.frontier.front import within_limits
from engine.frontier.recommendation import View
from engine.metrics import METRICS, based, shown, text_of
from engine.quality.predictions import Predictions
from engine.quality.what_broke import KINDS, ClassChange, Flip, class_changes, confusion_change, flips, reliability
from engine.store.rows import SweepRow
from engine.trials.metric_values import metric_value, slice_metrics
from engine.trials.text import with_minus
from engine.trials.trial import Trial
from pages.shared import answers, pickers, plots, queries, recommended, sample_picture, share, shell, slices
from pages.shared import explore_address as state
from pages.what_broke import changed_answers, values

PER_PAGE = 12
LIMITED = ("flip_rate", "harmful_flip_rate", "worst_class_drop")
_NAMES = {
    "harmful": "Harmful",
    "neutral": "Both wrong",
    "helpful": "Helpful",
}


def render() -> None:
    """Draw the page."""
    rows = [r for r in queries.sweeps() if r.trials]
    if not rows:
        st.info(
            "Nothing has been measured yet. Start a sweep, and what it broke can be seen here.", icon=":material/info:"
        )
        st.page_link(shell.pages()["new-sweep"], label="New sweep")
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        row, asked, news = pickers.pick_one("broke", rows)
        done = queries.columns(row).done
        others = done.take(~done.fact("is_baseline").astype(np.bool_))
        trial = pickers.pick_trial("broke", others, asked, news, lambda: recommended.unless_refused(row).trial)
    pickers.keep_one("broke", row, trial)
    baseline = queries.baseline(done)
    if baseline is None or trial is None:
        st.info("This sweep has no measured recipe beside its baseline yet.", icon=":material/info:")
        return
    outputs = answers.values(baseline), answers.values(trial)
    if outputs[0] is not None and outputs[1] is not None:
        values.compare(row, trial, outputs[0], outputs[1])
        return
    before, after = answers.predictions(baseline), answers.predictions(trial)
    if before is None or after is None:
        st.warning(
            "The predictions of this recipe are not kept any more; run the sweep again to see what it broke.",
            icon=":material/history:",
        )
        return
    _compare(row, trial, before, after)


def _compare(row: SweepRow, trial: Trial, before: Predictions, after: Predictions) -> None:
    measured_on = answers.test_images(row)
    images, classes = measured_on.split, measured_on.classes
    labels = images.labels
    if len(before) != len(images) or len(after) != len(images):
        st.warning("The dataset has changed since this sweep was run; run it again.", icon=":material/history:")
        return
    if (labels < 0).any():
        st.caption(f"These {measured_on.noun}s have no labels: all that can be said is which answers changed.")
        slices.show_changes(trial)
        changed_answers.show(before, after, measured_on)
        return
    found = flips(before, after, labels)
    changes = class_changes(before, after, labels, classes)
    _summary(trial, found, changes, measured_on)
    _limits(row, trial)
    left, right = st.columns(2, gap="large")
    with left:
        st.subheader("By class", anchor=False)
        st.caption("Filled bars: the change is more than chance (95 %). Outlined: it may be none.")
        plots.draw(class_figure(changes), key="broke classes", alt=class_alt(changes))
    with right:
        st.subheader("Mistakes that became more or fewer", anchor=False)
        st.caption("Orange: this mistake is made more often than by the baseline. Blue: less often.")
        change = confusion_change(before, after, labels, len(classes))
        plots.draw(
            confusion_figure(change, classes),
            key="broke confusion",
            alt=confusion_alt(change, classes),
        )
    slices.show_changes(trial)
    flipped, calibrated = st.columns([3, 2], gap="large")
    with flipped:
        _gallery(found, measured_on)
    with calibrated:
        _calibration(before, after, labels)
    tables = {
        "By class": lambda: [
            {**r, "change": c.change} for r, c in zip(table_export.records(changes), changes, strict=True)
        ],
        f"Flipped {measured_on.noun}s": lambda: [
            {**r, **{k: classes[r[k]] for k in ("label", "before", "after")}} for r in table_export.records(found)
        ],
    } | slices.tables(trial)
    share.popover(f"{row.id}-{trial.id}", tables)


def _summary(
    trial: Trial, found: Sequence[Flip], changes: Sequence[ClassChange], measured_on: answers.TestImages
) -> None:
    noun = measured_on.noun
    counts = {kind: sum(f.kind == kind for f in found) for kind in KINDS}
    worst = changes[0]
    with st.container(horizontal=True):
        for label, value, change, help_text in (
            (
                "Flips",
                f"{len(found):,}",
                f"{len(found) / len(measured_on.split) * 100:.2f} % of {noun}s",
                f"{noun.capitalize()}s that get another answer than from the baseline, right or wrong.",
            ),
            (
                "Harmful",
                f"{counts['harmful']:,}",
                "was right, is wrong",
                f"Each is one {noun} that users had right before.",
            ),
            (
                "Helpful",
                f"{counts['helpful']:,}",
                "was wrong, is right",
                "These make up for harmful ones in the accuracy.",
            ),
        ):
            st.metric(
                label,
                value,
                change,
                delta_color="off",
                delta_arrow="off",
                help=help_text,
                border=True,
                width=180,
                height="stretch",
            )
        # A name may be of any length, and a tile would cut it.
        with st.container(border=True, width=180, height="stretch", gap="xxsmall"):
            about = "The class whose recall fell most. The worst of many falls a little by chance alone."
            st.markdown(":small[Worst class]", help=about)
            st.markdown(f"##### {shell.plain(worst.name)}")
            st.caption(
                f"{with_minus(f'{worst.change * 100:+.1f}')} points{'' if worst.is_certain else ', may be chance'}"
            )
    accuracy = trial.accuracy
    if accuracy and counts["harmful"]:
        st.caption(
            f"The accuracy of {text_of('accuracy', accuracy.value)} hides {counts['harmful']:,} "
            f"{noun}{' that was' if counts['harmful'] == 1 else 's that were'} right before."
        )


def _limits(row: SweepRow, trial: Trial) -> None:
    """How much may break, to begin with as much as this recipe breaks; how many recipes keep to it, and the way to see them on Explore."""
    limits: dict[str, float] = {}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        by_slice = slice_metrics(trial.slices.key)[1:] if trial.slices else ()
        for key in (*LIMITED, *(k for k in by_slice if METRICS[k].unit == "points")):
            value = metric_value(trial, key)
            if value is None:
                continue
            metric = METRICS[key]
            # Rounded up: the recipe itself keeps the limits that it suggests.
            start = math.ceil(round(max(0.0, shown(key, value)) * 100, 6)) / 100
            name = f"broke limit {key} {row.id} {trial.id}"
            most = st.number_input(
                f"{metric.name} ≤ ({metric.unit})", 0.0, 100.0, start, 0.1, key=name, help=metric.help, width=190
            )
            limits[key] = based(key, most)
        if limits:
            st.page_link(
                shell.pages()["explore"],
                label="Explore under these limits",
                icon=":material/tune:",
                query_params=state.to_params(state.Explore(row.id, trial.id, View(limits=limits))),
            )
    if limits:
        done = queries.columns(row).done
        st.caption(f"{int(within_limits(done, limits).sum()):,} of {len(done):,} recipes break no more than that.")


def _gallery(found: Sequence[Flip], measured_on: answers.TestImages) -> None:
    """The flipped samples, filtered by kind and class, a page at a time."""
    noun, inputs, classes = measured_on.noun, measured_on.split.array, measured_on.classes
    st.subheader(f"{noun.capitalize()}s that flipped", anchor=False)
    if not found:
        st.success(f"Every {noun} gets the same answer as from the baseline.", icon=":material/check:")
        return
    kinds = [k for k in KINDS if any(f.kind == k for f in found)]
    if st.session_state.get("broke kind") not in (None, *kinds):
        st.session_state["broke kind"] = kinds[0]
    kind = st.pills(
        "Kind",
        kinds,
        format_func=_NAMES.__getitem__,
        key="broke kind",
        default=kinds[0],
        help="Harmful: was right, is wrong. Both wrong: another mistake than before. Helpful: was wrong, is right.",
    )
    choices = st.container(horizontal=True, vertical_alignment="bottom")
    mine = [f for f in found if kind is None or f.kind == kind]
    present = ["all classes", *(classes[i] for i in sorted({f.label for f in mine}))]
    if st.session_state.get("broke class") not in present:
        st.session_state["broke class"] = present[0]
    chosen = choices.selectbox("True class", present, key="broke class", width=220)
    mine = [f for f in mine if chosen == present[0] or classes[f.label] == chosen]
    pages = max(1, -(-len(mine) // PER_PAGE))
    page = 1
    if pages > 1:
        name = f"broke page {kind} {chosen}"
        page = int(choices.number_input(f"Page of {pages}", 1, pages, key=name, width=140))
    scale = sample_picture.Scale.of(inputs)
    # As many beside each other as there is room for.
    flow = st.container(horizontal=True, gap="small")
    for flip in mine[(page - 1) * PER_PAGE : page * PER_PAGE]:
        with flow.container(width=132, gap="xxsmall"):
            # A picture from its own black to its own white: what is faint is looked at too.
            sample = inputs[flip.index]
            own = sample_picture.Scale(float(sample.min()), float(sample.max()), scale.ranges)
            sample_picture.show(sample, own, 112)
            sure = [f" {c:.0%}" if c is not None else "" for c in (flip.before_confidence, flip.after_confidence)]
            st.markdown(
                f":small[true: **{shell.plain(classes[flip.label])}**  \nwas {shell.plain(classes[flip.before])}{sure[0]}  \n"
                f"now {shell.plain(classes[flip.after])}{sure[1]}]"
            )


def _calibration(before: Predictions, after: Predictions, labels: np.ndarray) -> None:
    bins = [reliability(p, labels) for p in (before, after)]
    if not all(bins):
        return
    st.subheader("Is it as right as it is sure?", anchor=False)
    st.caption(
        "Points under the dotted line: surer than right. A product that shows or thresholds confidences depends on this."
    )
    plots.draw(
        reliability_figure(*bins),
        key="broke calibration",
        alt=reliability_alt(bins[1]),
    )


with shell.one_line_errors():
    shell.guard()
    render()
