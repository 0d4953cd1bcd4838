"""A recurrent network of sound with its state, ours beside the peers': Silero's voice detector on spoken prompts, in one run.

    python tests/benchmarks/bench_recurrent_audio.py --peers PYTHON --silero FOLDER --prompts FOLDER [--keep FOLDER]

PYTHON is one of an environment of its own with PACKAGES of tests/helpers/swept.py. Silero's FOLDER is silero_vad/data of the package
silero-vad 6.2.3 (`pip download --no-deps silero-vad==6.2.3`, a zip), the prompts' is of .wav files, as Debian's
asterisk-core-sounds-en-wav has them (568 of one speaker, 8 kHz): `apt-get download`, `dpkg -x`.

200 clips of three seconds are looked at, of prompts that no other split has; 64 calibrate, `max_drop` looks at 64 more. The metric is the
share of chunks of 32 ms told right, speech or none, by what is loud in the clean recording. States begin as zeros and go on through a clip.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import onnx
import yaml

from engine.measure.machine import machine
from tests.helpers import spoken_clips
from tests.helpers.swept import PEERS, RECURRENT, File, arguments, peers, swept, table


def main() -> None:
    given = arguments("silero", "prompts")
    os.environ["SPOKEN_PROMPTS"] = str(given.prompts.resolve())
    with tempfile.TemporaryDirectory() as kept:
        folder = (given.keep or Path(kept)).resolve()
        folder.mkdir(exist_ok=True)
        onnx.save(spoken_clips.over_clips(given.silero / "silero_vad_16k_sequence.onnx"), folder / "vad.onnx")
        code = Path(spoken_clips.__file__)
        spec = {
            "name": "voice",
            "model": {"source": "vad.onnx", "state": {"h": "hn", "c": "cn"}},
            "data": {"source": f"{code}:load", "kind": "series", "task": "other", "preprocess": "none"},
            "metric": {"source": f"{code}:right", "higher_is_better": True, "unit": "%"},
            "space": {"quantize": list(RECURRENT)},
            "measure": {"latency": None},
        }
        (folder / "spec.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
        ours = swept(folder / "spec.yaml", folder)
        arrays = spoken_clips.load()
        x, y = arrays["x_test"], arrays["y_test"]
        said = spoken_clips.chunk_by_chunk(given.silero / "silero_vad.onnx", x)
        print(machine().label)
        print(f"one chunk a call, state fed back: {spoken_clips.right(said, y).mean():.2%} right")
        theirs = peers(given.peers, PEERS, ours[0].path, arrays["x_calibration"], folder)
        files: list[File] = [*theirs, *ours]
        table(files, ours[0], x, lambda found: spoken_clips.right(np.asarray(found), y))


if __name__ == "__main__":
    main()
