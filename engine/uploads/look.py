"""Looks at one uploaded file, in a process of its own: `python -m engine.uploads.look FILE FOLDER`.

It prints lines of JSON: `{"done": share}` on the way, and at the end `{"kind", "facts"}` or `{"refused": why}`. What is kept of a zip of
pictures is unpacked into the folder. Names of files say nothing here: what a file is, its content tells.
"""

from __future__ import annotations

import json
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.errors import InputError
from engine.uploads import zips
from engine.uploads.bounds import Refused

PICTURES = "pictures"
"""What the folder of unpacked pictures is called."""
_TOLD_EVERY_S = 0.3
_OTHERS = (
    (b"\x1f\x8b", "is a gzip archive; upload a zip, or the file itself"),
    (b"BZh", "is a bzip2 archive; upload a zip, or the file itself"),
    (b"7z\xbc\xaf", "is a 7-Zip archive; upload a zip, or the file itself"),
    (b"Rar!", "is a RAR archive; upload a zip, or the file itself"),
    (b"\xfd7zXZ", "is an xz archive; upload a zip, or the file itself"),
    (b"\x89HDF", "is an HDF5 file (Keras, PyTables); export the network to ONNX, save data with np.savez"),
    (b"\x93NUMPY", "is one array (.npy); save it with its labels: np.savez(PATH, x=…, y=…)"),
    (b"\x89PNG", "is one picture; zip a folder of pictures"),
    (b"\xff\xd8\xff", "is one picture; zip a folder of pictures"),
    (b"PAR1", "is a Parquet file; unpack it into pictures, or save arrays with np.savez"),
    (b"version https://git-lfs", "is a pointer of Git LFS and not the file; fetch it with `git lfs pull`"),
    (b"PK\x05\x06", "is an empty zip; put arrays, or pictures, into it"),
)


def look(path: Path, folder: Path, told: Callable[[float], None]) -> dict[str, Any]:
    """What a file is and what is known of it: `{"kind": "onnx" | "npz" | "pictures", "facts"}`; raises InputError."""
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        raise Refused("is empty; upload it again")
    for magic, why in _OTHERS:
        if head.startswith(magic):
            raise Refused(why)
    if head[0] == 0x80 and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        raise Refused("is a Python pickle, which could run code; export the network to ONNX, save data with np.savez")
    if head[4:8] == b"TFL3":
        raise Refused("is a TensorFlow Lite file; convert the network to ONNX")
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 100 << 20:
        raise Refused("is a safetensors file, weights without their network; export the network to ONNX")
    if not head.startswith(b"PK\x03\x04"):
        from engine.uploads import onnx_graph

        return {"kind": "onnx", "facts": onnx_graph.look_at(path, told)}
    if _is_npz(path):
        from engine.uploads import npz_file

        return {"kind": "npz", "facts": npz_file.look_at(path, told)}
    from engine.uploads import picture_zip

    return {"kind": "pictures", "facts": picture_zip.unpack(path, folder / PICTURES, told)}


def _is_npz(path: Path) -> bool:
    """Whether a zip holds arrays; raises Refused for zips that are programs' own."""
    with zips.opened(path) as (_, members):
        names = [info.filename for info in members]
    if any(name.endswith("/data.pkl") or name == "data.pkl" for name in names):
        raise Refused(
            "is a file of torch.save, a pickle, which could run code; export the network to ONNX (torch.onnx.export)"
        )
    onnx = next((name for name in names if name.lower().endswith(".onnx")), None)
    if onnx is not None:
        raise Refused(f"holds a network, {onnx[:80]!r}; upload it by itself, saved as one file")
    return any(name.endswith(".npy") for name in names)


def _say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def main(path: Path, folder: Path) -> None:
    """Look, and say what was found, or why the file is not taken."""
    last = 0.0

    def told(share: float) -> None:
        nonlocal last
        if time.monotonic() - last > _TOLD_EVERY_S:
            last = time.monotonic()
            _say({"done": round(share, 3)})

    try:
        _say(look(path, folder, told))
    except InputError as error:
        _say({"refused": str(error)})
    except (MemoryError, RecursionError, zipfile.LargeZipFile):
        _say({"refused": "takes more memory to read than is given to an upload; send less, or a smaller network"})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
