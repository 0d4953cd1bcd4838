"""Playground: one image through the baseline and a few recipes, run here and now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import streamlit as st

from engine.datasets.pictures import MOST_BYTES, decode, to_input
from engine.datasets.splits import Array
from engine.errors import InputError, StepError
from engine.explain.playground import Answer
from engine.metrics import text_of
from engine.quality.changed_values import value_text
from engine.store.rows import SweepRow
from engine.trials.trial import Trial
from pages.playground import drawing
from pages.shared import answers, comparison, queries, sample_picture, shell

TEST, OWN, DRAWN = "A test image", "A picture of mine", "A drawing"
GALLERY = 8
SMALL_PX, LARGE_PX = 84, 224
MOST_DRAWS = 1_000_000
PER_ROW = 3


@dataclass(frozen=True)
class Subject:
    """The image that is shown to the networks: (1, channels, height, width) as stored; `truth` is its class, where it is known."""

    image: Array
    truth: str | None
    name: str


def render() -> None:
    """Draw the page."""
    picked = comparison.pick("playground", 1)
    if picked is None:
        return
    row, done, chosen = picked
    images = answers.test_images(row)
    baseline = queries.baseline(done)
    trials = list({t.id: t for t in (baseline, *chosen) if t is not None}.values())
    where = TEST
    if images.are_pictures:
        where = st.radio("Image", (TEST, OWN, DRAWN), horizontal=True, key="playground where")
    subject = {TEST: _test_image, OWN: _own_picture, DRAWN: _drawing}[where](images)
    if subject is None:
        return
    left, right = st.columns([1, 3], gap="medium")
    with left:
        scale = sample_picture.Scale.of(images.split.array)
        sample_picture.show(subject.image[0], scale, LARGE_PX, f"{subject.name}, as the networks see it")
        st.caption(f"{subject.name}, {sample_picture.text(subject.image.shape[1:], images.are_pictures)}.")
        if subject.truth is not None:
            st.markdown(f"It is: **{shell.plain(subject.truth)}**")
    with right:
        _answers(row, trials, baseline, subject, images)


def _test_image(images: answers.TestImages) -> Subject:
    """A draw of test images to pick from; draw and pick are in the address."""
    count = len(images.split)
    draw = _whole("draw", MOST_DRAWS) or 0
    drawn = np.random.default_rng(draw).choice(count, min(GALLERY, count), replace=False)
    index = _whole("image", count)
    index = int(drawn[0]) if index is None else index
    scale = sample_picture.Scale.of(images.split.array)
    with st.container(horizontal=True, gap="small"):
        for number in drawn.tolist():
            with st.container(width=SMALL_PX, gap=None):
                name = _truth(images, number) or "no label"
                alt = f"Test {images.noun} {number}: {name}"
                sample_picture.show(images.split.array[number], scale, SMALL_PX, alt)
                st.button(
                    str(number),
                    key=f"show {number}",
                    help=f"Show test {images.noun} {number}: {shell.plain(name)}",
                    disabled=number == index,
                    width="stretch",
                    on_click=_to_address,
                    args=({"image": number, "draw": draw},),
                )
    st.button(
        f"Other {images.noun}s",
        icon=":material/casino:",
        key="playground next",
        on_click=_to_address,
        args=({"draw": draw + 1, "image": None},),
        help="The next draw from the test split; the same for everybody.",
    )
    return Subject(images.split.array[index : index + 1], _truth(images, index), f"Test {images.noun} {index}")


def _truth(images: answers.TestImages, number: int) -> str | None:
    """The class of a test image, or its target; None where nobody told it."""
    if images.split.targets is not None:
        return value_text(images.split.targets[number])
    label = int(images.split.labels[number])
    return images.classes[label] if label >= 0 else None


def _whole(name: str, below: int) -> int | None:
    """A whole number in [0, below) from the address; None for anything else."""
    text = st.query_params.get(name, "")
    value = int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else below
    return value if value < below else None


def _to_address(changes: dict[str, int | None]) -> None:
    for name, value in changes.items():
        if value is None:
            st.query_params.pop(name, None)
        else:
            st.query_params[name] = str(value)


def _own_picture(images: answers.TestImages) -> Subject | None:
    """An uploaded picture, made into an input; None without one, or with one that cannot be read."""
    uploaded = st.file_uploader(
        "PNG or JPEG",
        type=["png", "jpg", "jpeg"],
        max_upload_size=MOST_BYTES >> 20,
        key="playground upload",
        help="Cut to the network’s proportions around the centre, and resized. It is kept in memory for this visit, and never stored.",
    )
    swap = st.toggle(
        "Swap light and dark",
        key="playground swap",
        help="For a dark thing on a light ground where the dataset shows light things on a dark one, as Fashion-MNIST does.",
    )
    if uploaded is None:
        st.info(
            "Choose a picture: a photo of one thing, seen from the front, on a plain ground, does best.",
            icon=":material/upload:",
        )
        return None
    return _subject(uploaded.getvalue(), images, swap, "Your picture")


def _drawing(images: answers.TestImages) -> Subject | None:
    """What is drawn on the page; None before the first stroke."""
    drawn = drawing.square("playground drawing")
    if drawn is None:
        st.caption("Draw with the mouse or a finger: light on dark, as large as the square.")
        return None
    return _subject(drawn, images, False, "Your drawing")


def _subject(content: bytes, images: answers.TestImages, swap: bool, name: str) -> Subject | None:
    try:
        return Subject(to_input(decode(content), images.split.array[:100], swap), None, name)
    except InputError as error:
        st.error(str(error), icon=":material/broken_image:")
        return None


def _answers(
    row: SweepRow, trials: Sequence[Trial], baseline: Trial | None, subject: Subject, images: answers.TestImages
) -> None:
    found: dict[str, Answer] = {}
    trouble: dict[str, str] = {}
    for trial in trials:
        try:
            file = queries.network_file(row, trial)
            if file is None:
                trouble[trial.id] = "The file of this recipe is gone; run the sweep again."
            else:
                found[trial.id] = file.answer(subject.image, answers.how_to_ask(row, trial, images))
        except (InputError, StepError) as error:
            trouble[trial.id] = str(error)
    reference = found.get(baseline.id) if baseline else None
    for start in range(0, len(trials), PER_ROW):
        for column, trial in zip(st.columns(PER_ROW), trials[start : start + PER_ROW], strict=False):
            with column, st.container(border=True, height="stretch", gap="small"):
                st.markdown(f"**{shell.plain(trial.label)}**")
                if trial.id in trouble:
                    st.warning(trouble[trial.id], icon=":material/error:")
                else:
                    _answer(found[trial.id], reference, subject)
    if found:
        some = next(iter(found.values()))
        st.caption(
            f"Milliseconds are the median of {some.runs} runs with one thread on this server, whatever else it was doing: informal. "
            "Compare recipes by the latencies of the sweep."
        )
        if any(queries.spec(row).model.state.values()):
            st.caption(
                "The network has states. Here they are zeros at the start of every sample; a bundle’s predict.py streams."
            )


def _answer(found: Answer, reference: Answer | None, subject: Subject) -> None:
    """What one file says: class, truth, time, and the five likeliest classes as bars."""
    st.markdown(f"### {shell.plain(found.predicted)}")
    with st.container(horizontal=True, gap="small"):
        if subject.truth is not None and found.values is not None:
            st.badge(f"target {subject.truth}", icon=":material/target:", color="gray")
        elif subject.truth is not None:
            if found.predicted == subject.truth:
                st.badge("right", icon=":material/check:", color="green")
            else:
                st.badge("wrong", icon=":material/close:", color="red")
        if reference is not None and found.values is None and found.predicted != reference.predicted:
            st.badge("other than baseline", icon=":material/swap_horiz:", color="orange")
        batch = f" for {found.batch} at once" if found.batch > 1 else ""
        st.badge(f"{text_of('latency_ms', found.milliseconds)}{batch}", icon=":material/timer:", color="gray")
    for name, share in found.top:
        st.progress(min(1.0, share), f"{shell.plain(name)} · {share * 100:.1f} %")


with shell.one_line_errors():
    shell.guard()
    render()
