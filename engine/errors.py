"""Every error that Paretoscope raises on purpose.

ParetoscopeError
├── InputError              the user's input is wrong: one line, exit code 2
│   ├── SpecError           a spec, step or option
│   ├── ModelError          a model source, builder, checkpoint or ONNX file
│   ├── DatasetError        a dataset file: missing, damaged, wrong shape
│   │   └── ClassesUnknownError     no labels, and nobody said how many classes there are
│   ├── NotFoundError       a sweep or trial that the store does not have
│   ├── AccessError         somebody without the role that it takes
│   └── SetupError          the home folder, store version, port, scheduler address, access file
│       └── RunningError    another process runs the sweep
├── StepError               a valid step that this network does not support: the trial fails, the sweep goes on
└── CancelledError          the user asked a sweep to stop

The message is written for the person at the keyboard: what was wrong, with the value, and what to do.
"""

from __future__ import annotations


class ParetoscopeError(Exception):
    """Base of all; never raised itself."""


class InputError(ParetoscopeError):
    """The user's input is wrong; the command line prints the message and exits with code 2."""


class SpecError(InputError):
    """A spec, a step or an option has an unknown name or an impossible value."""


class ModelError(InputError):
    """A model source cannot be found, built or loaded."""


class DatasetError(InputError):
    """A dataset is missing, damaged or of the wrong shape."""


class ClassesUnknownError(DatasetError):
    """A dataset has no labels, and the spec does not say how many classes there are."""


class NotFoundError(InputError):
    """The store has no such sweep or trial."""


class AccessError(InputError):
    """Who asks does not have the role that it takes."""


class SetupError(InputError):
    """The place that Paretoscope runs in is not usable: home folder, store version, port, scheduler, access file."""


class RunningError(SetupError):
    """Another process runs the sweep."""


class StepError(ParetoscopeError):
    """A valid step that this network does not support; the message names the layer and the reason."""


class CancelledError(ParetoscopeError):
    """The user asked the running sweep to stop; finished nodes stay."""
