"""The sections of a spec that say what is compressed and measured: model, data, what to measure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from engine.spec.canonical import canonical_json
from engine.spec.frozen import Frozen
from engine.spec.metric import Task
from engine.spec.runtime import Runtime


class Model(Frozen):
    """A model source: a zoo name, `torchvision:NAME`, `timm:NAME`, a function (`path/to/file.py:function`, `pkg.module:function`), an
    `.onnx` file, or a `.pt2` file of `torch.export.save`.

    `weights` is a checkpoint for a network that is built (safetensors, or a .pt/.pth file of plain tensors). `options` are what the
    function is called with, beside the classes and channels of the data. `output` is the one that counts where there are several: its
    name, or its number; `outputs` are those that count at once, in this order. `state`: inputs that begin as zeros for each sample, each
    with the output that is fed back into it, if any. `state_shapes`: of those of a torch network that does not tell them (by running with
    None for a state), sizes, `N` for the axis that counts samples. `axes`: sizes of axes that an ONNX file leaves free and the data do not
    fix, by the file's names of them, and of names in `state_shapes`.
    """

    source: str = Field(min_length=1)
    weights: str | None = None
    options: dict[str, JsonValue] = Field(default_factory=dict)
    output: str | int | None = None
    outputs: tuple[str | int, ...] = ()
    state: dict[str, str | None] = Field(default_factory=dict)
    axes: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    state_shapes: dict[str, tuple[Annotated[int, Field(ge=1)] | str, ...]] = Field(default_factory=dict)

    @field_validator("state", mode="before")
    @classmethod
    def _states_by_name(cls, state: Any) -> Any:
        return dict.fromkeys(state) if isinstance(state, list | tuple) else state

    @field_validator("outputs")
    @classmethod
    def _outputs_are_several(cls, outputs: tuple[str | int, ...]) -> tuple[str | int, ...]:
        if len(outputs) == 1:
            raise ValueError(f"one output is {outputs[0]!r} alone; write model.output: {outputs[0]}")
        twice = next((name for i, name in enumerate(outputs) if name in outputs[:i]), None)
        if twice is not None:
            raise ValueError(f"the output {twice!r} is named twice; name it once")
        return outputs

    @model_validator(mode="after")
    def _one_or_several(self) -> Model:
        if self.outputs and self.output is not None:
            raise ValueError(f"output {self.output!r} stands beside outputs; leave one of them out")
        return self

    @field_validator("options")
    @classmethod
    def _options_are_keywords(cls, options: dict[str, JsonValue]) -> dict[str, JsonValue]:
        wrong = next((name for name in options if not name.isidentifier()), None)
        if wrong is not None:
            raise ValueError(f"{wrong!r} is not the name of an option; write a function's parameters by their names")
        return options

    @model_serializer(mode="wrap")
    def _without_what_is_not_said(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What came later than source and weights: a model without it is the same model as ever, in every key and id."""
        stated: dict[str, Any] = whole(self)
        return {n: v for n, v in stated.items() if n in ("source", "weights") or v not in (None, {}, (), [])}

    def __hash__(self) -> int:
        return hash(canonical_json(self.model_dump(mode="json")))

    @property
    def is_onnx(self) -> bool:
        """Whether it is a graph, of which ONNX steps go on as it is."""
        return self.source.endswith((".onnx", ".pt2"))


class Preprocess(Frozen):
    """How stored inputs become what the network reads: `(x * scale - mean) / std`, per channel.

    `scale` left out is 1/255 for uint8 inputs and 1 for others; `mean` and `std` have one value, or one a channel, and are those of the
    training split with `standardize`. Pictures of a folder, or of a table of paths, are made `resize` pixels on their shorter side and cut
    to `crop` around the centre. Sounds get `rate` samples a second, are cut or filled with zeros to a `window` of so many seconds, and
    become the logarithms of `log_mel` mel bands (`engine/datasets/audio.py`). `layout` is that of what the network reads, `channels` the
    order of its colours; the data's own are NCHW and RGB once they are read, whatever the file had.
    """

    layout: Literal["NCHW", "NHWC"] = "NCHW"
    channels: Literal["RGB", "BGR"] = "RGB"
    scale: float | None = Field(None, gt=0)
    mean: tuple[float, ...] | None = None
    std: tuple[Annotated[float, Field(gt=0)], ...] | None = None
    standardize: bool = False
    resize: int | None = Field(None, ge=1, le=8192)
    crop: int | None = Field(None, ge=1, le=8192)
    rate: int | None = Field(None, ge=1000, le=768_000)
    window: float | None = Field(None, gt=0, le=3600)
    log_mel: int | None = Field(None, ge=1, le=1024)

    @field_validator("mean", "std", mode="before")
    @classmethod
    def _one_of_all_channels(cls, value: Any) -> Any:
        """A number stands for a list of it."""
        return (value,) if isinstance(value, int | float) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _knobs_fit(self) -> Preprocess:
        if (self.mean is None) != (self.std is None):
            raise ValueError(f"{'mean' if self.mean is None else 'std'} is missing; give both mean and std, or neither")
        if self.standardize and self.mean is not None:
            raise ValueError(
                "standardize takes mean and std from the training data; give these, or standardize, not both"
            )
        if self.resize is not None and self.crop is not None and self.crop > self.resize:
            raise ValueError(
                f"crop {self.crop} is larger than resize {self.resize}; give a crop of at most the resized side"
            )
        pictures = next((name for name in ("resize", "crop") if getattr(self, name) is not None), None)
        if self.audio and pictures:
            raise ValueError(f"{pictures} is for pictures, {next(iter(self.audio))} for sounds; give one of them")
        return self

    @model_serializer(mode="wrap")
    def _without_sounds_unsaid(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What came later: preprocessing without it is the same as ever, in every key and id."""
        stated: dict[str, Any] = whole(self)
        return {n: v for n, v in stated.items() if n not in ("rate", "window", "log_mel") or v is not None}

    @property
    def audio(self) -> dict[str, Any]:
        """What becomes of sounds, as far as it is said."""
        stated = {"rate": self.rate, "window": self.window, "log_mel": self.log_mel}
        return {name: value for name, value in stated.items() if value is not None}

    @property
    def says_numbers(self) -> bool:
        """Whether it tells what becomes of the numbers, and not of pictures' sizes alone."""
        return self.standardize or self.mean is not None or self.scale is not None


NAMED_PREPROCESSING: dict[str, dict[str, Any]] = {"none": {"scale": 1.0}, "standardize": {"standardize": True}}
"""What may be written in one word: numbers as they are stored; mean and deviation of the training split."""


MOST_CLASSES = 1_000_000


def _is_constant(value: Any) -> bool:
    """A number, or numbers in lists of lists."""
    return all(map(_is_constant, value)) if isinstance(value, list) else isinstance(value, bool | int | float)


EMBEDDED = ("fashion_mnist", "pen_digits")
"""Names of the datasets that ship with the program."""


class Data(Frozen):
    """A dataset: one that ships (`fashion_mnist`, `pen_digits`), a name that was prepared, a file, a folder of pictures or
    `path/to/file.py:function`.

    `preprocess` is a mapping, `none` or `standardize`; `mean` and `std` may stand beside `source`, as a short form. `kind` says what arrays
    hold where their shape does not; `classes` names the classes, or says how many there are; `labels` is the file of labels of an `.npy`
    source, `target` the column of a table that holds them, or the columns of several values. `task` is told by the labels where it can be.
    `inputs`: for each input of the network the name of its array, or a number, or a list of numbers, that is the same for every sample;
    names alone where arrays are called like inputs. A network with one needs none. `slices` name arrays, or columns of a table, that say of
    each item where it is from (site, device, speaker): every figure is told by them, too. A column of a table that is named so is no input.
    """

    source: str = Field("fashion_mnist", min_length=1)
    preprocess: Preprocess | None = None
    classes: int | tuple[str, ...] | None = None
    kind: Literal["image", "series", "vector", "array"] | None = None
    labels: str | None = Field(None, min_length=1)
    target: Annotated[str, Field(min_length=1)] | tuple[str, ...] | None = None
    task: Task | None = None
    inputs: dict[str, JsonValue] | None = None
    slices: tuple[str, ...] = ()

    @field_validator("slices", mode="before")
    @classmethod
    def _slices_are_named(cls, slices: Any) -> Any:
        names = [slices] if isinstance(slices, str) else slices or ()
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) and name.strip() for name in names):
            raise ValueError(f"{slices!r:.60} names no arrays; write [site], or several: [site, device]")
        twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
        if twice is not None:
            raise ValueError(f"the array {twice!r} is named twice; name it once")
        return names

    @field_validator("target")
    @classmethod
    def _targets_are_named(cls, target: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        if not isinstance(target, tuple):
            return target
        twice = next((name for i, name in enumerate(target) if name in target[:i]), None)
        if not target or twice is not None:
            raise ValueError("names no column" if not target else f"the column {twice!r} is named twice; name it once")
        return target[0] if len(target) == 1 else target

    @property
    def targets(self) -> tuple[str, ...]:
        """The columns that are said to hold what the network is to say; empty where nothing is said."""
        return (self.target,) if isinstance(self.target, str) else self.target or ()

    @property
    def arrays(self) -> dict[str, str]:
        """Input of the network -> name of its array; empty where nothing is said."""
        return {name: value for name, value in (self.inputs or {}).items() if isinstance(value, str)}

    @property
    def constants(self) -> dict[str, JsonValue]:
        """Input of the network -> what it is for every sample."""
        return {name: value for name, value in (self.inputs or {}).items() if not isinstance(value, str)}

    @field_validator("inputs", mode="before")
    @classmethod
    def _inputs_are_named(cls, inputs: Any) -> Any:
        if isinstance(inputs, list | tuple):
            inputs = {name: name for name in inputs}
        if inputs is None or not isinstance(inputs, Mapping):
            return inputs
        for name, value in inputs.items():
            if not isinstance(value, str) and not _is_constant(value):
                raise ValueError(
                    f"{name} is {value!r:.60}; give the name of an array, a number, or a list of numbers that is the same for every "
                    "sample, or {state: OUTPUT}"
                )
        named = [value for value in inputs.values() if isinstance(value, str)]
        if not named:
            raise ValueError("no input has an array; name at least one, as in {audio: x, sr: 16000}")
        twice = next((value for i, value in enumerate(named) if value in named[:i]), None)
        if twice is not None:
            raise ValueError(f"the array {twice!r} stands for two inputs; save it under a name for each")
        return dict(inputs)

    @model_validator(mode="after")
    def _several_are_as_stored(self) -> Data:
        if len(self.arrays) > 1 and self.kind is not None:
            raise ValueError(f"kind {self.kind} stands beside several inputs, which are read as they are; leave it out")
        if len(self.arrays) > 1 and self.preprocess not in (None, Preprocess(scale=1.0)):
            raise ValueError(
                "preprocess is for one array, but inputs names several; save them as the network reads them, and write preprocess: none"
            )
        return self

    @model_serializer(mode="wrap")
    def _without_inputs_unsaid(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What came later: data without it are the same data as ever, in every key and id."""
        stated: dict[str, Any] = whole(self)
        return {n: v for n, v in stated.items() if n not in ("inputs", "task", "slices") or v not in (None, (), [])}

    def __hash__(self) -> int:
        return hash(canonical_json(self.model_dump(mode="json")))

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The names of the classes, numbers where only their number is said; None where nothing is."""
        return tuple(map(str, range(self.classes))) if isinstance(self.classes, int) else self.classes

    @model_validator(mode="before")
    @classmethod
    def _in_one_place(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        filled = dict(value)
        given = filled.get("preprocess")
        if isinstance(given, str):
            if given not in NAMED_PREPROCESSING:
                raise ValueError(
                    f"preprocess {given!r} is not known; write {' or '.join(NAMED_PREPROCESSING)}, or a mapping"
                )
            filled["preprocess"] = NAMED_PREPROCESSING[given]
        short = {name: filled.pop(name) for name in ("mean", "std") if name in filled}
        if any(v is not None for v in short.values()):
            if given is not None:
                raise ValueError(f"{' and '.join(short)} stand beside preprocess; write them inside it")
            filled["preprocess"] = short
        return filled

    @field_validator("classes", mode="before")
    @classmethod
    def _classes_are_told_apart(cls, classes: Any) -> Any:
        if isinstance(classes, int) and not 2 <= classes <= MOST_CLASSES:
            raise ValueError(f"there are at least 2 classes and at most {MOST_CLASSES:,}, but this says {classes}")
        if classes is None or isinstance(classes, int):
            return classes
        if not isinstance(classes, list | tuple) or not all(isinstance(name, str) for name in classes):
            raise ValueError(f"give the classes' names as a list of text, or how many there are, not {classes!r:.60}")
        twice = next((name for i, name in enumerate(classes) if name in classes[:i]), None)
        if twice is not None:
            raise ValueError(f"two classes are called {twice!r}; give each a name of its own")
        return classes

    @model_validator(mode="after")
    def _labels_belong_to_an_array(self) -> Data:
        if self.labels is not None and not self.source.endswith(".npy"):
            raise ValueError(f"labels {self.labels} stands beside {self.source}; it is for an .npy source alone")
        return self


class LatencyOptions(Frozen):
    """How latency is measured: intra-op threads and images per call, for the baseline and every recipe without a runtime step.

    Each measurement is spread over at least `processes` fresh processes and stops when the 95 % interval of the ratio is within
    ±`half_width` (a share) of it, or after about `time_limit_s` seconds.
    """

    threads: int = Field(1, ge=1, le=1024)
    batch: int = Field(1, ge=1, le=65_536)
    half_width: float = Field(0.02, gt=0, le=0.5)
    time_limit_s: float = Field(10.0, gt=0, le=3600)
    processes: int = Field(3, ge=1, le=50)

    def filled(self, runtime: Runtime | None) -> Runtime:
        """A recipe's runtime with every option stated."""
        own = {"threads": self.threads, "batch": self.batch, "graph_optimisation": "all", "provider": "CPU"}
        return Runtime(**{**own, **(runtime.options if runtime else {})})


class Measure(Frozen):
    """What is measured of each recipe. `latency: null` leaves latency (and with it the host's energy) out.

    `held_back` is a share of the test images that no figure sees until `paretoscope confirm`; `test_samples` counts among the others.
    """

    test_samples: Literal["all"] | Annotated[int, Field(ge=1)] = "all"
    held_back: float = Field(0.0, ge=0, lt=1)
    latency: LatencyOptions | None = LatencyOptions()
    profiles: tuple[str, ...] = ("host", "stm32h7a3-xcubeai")
