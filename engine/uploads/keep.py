"""Uploaded files as they are kept: under the home, each in a folder named by the SHA-256 of what was sent.

The same bytes are the same path, so a spec that names it is the same spec. A file is looked at before it is kept; one that is refused
leaves nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal

from engine.errors import SetupError
from engine.models.accepted import FACTS
from engine.paths import home, home_path, uploads_path
from engine.store.store import Store
from engine.uploads import bounds
from engine.uploads.bounds import Refused, size
from engine.uploads.limited import Ended, run_limited
from engine.uploads.look import PICTURES

Kind = Literal["onnx", "npz", "pictures"]
FILES: dict[Kind, str] = {"onnx": "model.onnx", "npz": "data.npz", "pictures": PICTURES}
"""What each kind is called in its folder."""
CALLED: dict[Kind, str] = {"onnx": "a network (ONNX)", "npz": "arrays (.npz)", "pictures": "a zip of pictures"}
_ABOUT = "upload.json"
_COMING, _COMING_S = ".coming-", 3600.0
YOUNG_S = 3600.0
"""What came in the last hour may be of a sweep that is not started yet."""
_ID = re.compile(r"[0-9a-f]{64}")
# One at a time: each may take gigabytes.
_ALONE = threading.Lock()


@dataclass(frozen=True)
class Upload:
    """A kept file. `name` is what its sender called it, `n_bytes` what it takes here, `facts` what was found in it, `came_s` the time."""

    sha256: str
    kind: Kind
    name: str
    n_bytes: int
    came_s: float
    facts: dict[str, Any]

    @property
    def path(self) -> Path:
        """What a spec names it by."""
        return uploads_path() / self.sha256 / FILES[self.kind]


def receive(
    content: IO[bytes],
    name: str,
    wanted: Literal["model", "data"],
    told: Callable[[float], None] = lambda share: None,
) -> Upload:
    """Look at a file and keep it; one that is here already is found. `told` is given the share that is done.

    Raises Refused, in one line that begins with the file's name; SetupError where the home cannot be written.
    """
    called = _shown(name)
    root = _root()
    _clear_leftovers(root)
    with tempfile.TemporaryDirectory(prefix=_COMING, dir=root, ignore_cleanup_errors=True) as folder:
        coming, kept = Path(folder) / "file", Path(folder) / "kept"
        sha256 = _written(content, coming, called)
        found = _read(root / sha256)
        if found is None:
            _check_room(coming.stat().st_size, called)
            kept.mkdir()
            with _ALONE:
                found = _looked_at(coming, kept, sha256, called, told)
            _check_wanted(found, wanted, called)
            _check_room(found.n_bytes, called)
            _store(coming, kept, found, root / sha256)
        else:
            _check_wanted(found, wanted, called)
            # It is young again.
            (root / sha256 / _ABOUT).touch()
    return found


def _shown(name: str) -> str:
    """A name that a browser sent, as it may be shown: its last part, of printable characters."""
    last = re.split(r"[/\\]", name)[-1]
    return "".join(c for c in last if c.isprintable())[:80] or "the file"


def _root() -> Path:
    home()
    root = uploads_path()
    try:
        root.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise SetupError(f"{root} cannot be made ({error.strerror}); let the server's user write there") from None
    return root


def _clear_leftovers(root: Path) -> None:
    """What a server left that was killed while something came."""
    for path in root.glob(f"{_COMING}*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _COMING_S:
                shutil.rmtree(path)


def _written(content: IO[bytes], target: Path, called: str) -> str:
    """SHA-256, in hex, of what comes, written to a file; raises Refused for more than is taken."""
    sha256, total = hashlib.sha256(), 0
    with target.open("xb") as file:
        while piece := content.read(1 << 20):
            total += len(piece)
            if total > bounds.MOST_BYTES:
                raise Refused(
                    f"{called} is larger than {size(bounds.MOST_BYTES)}, the most that is taken in the browser; send less, or have it put "
                    "into a folder that the server lists"
                )
            sha256.update(piece)
            file.write(piece)
    return sha256.hexdigest()


def _looked_at(coming: Path, kept: Path, sha256: str, called: str, told: Callable[[float], None]) -> Upload:
    """What another process, with limits, finds in a file; raises Refused."""
    answer: dict[str, Any] = {}

    def take(line: str) -> bool:
        try:
            said = json.loads(line)
        except ValueError:
            return False
        if isinstance(said, dict) and "done" in said:
            told(min(1.0, float(said["done"])))
            return True
        if isinstance(said, dict):
            answer.update(said)
        return True

    ended = run_limited("engine.uploads.look", [str(coming), str(kept)], bounds.LOOKING, told=take)
    if "refused" in answer:
        why = str(answer["refused"])
        said = why.replace(str(coming), called) if str(coming) in why else f"{called} {why}"
        raise Refused(" ".join(said.split())[:500])
    if ended.code != 0 or answer.get("kind") not in FILES:
        raise Refused(_why_ended(ended, called))
    n_bytes = coming.stat().st_size + sum(p.stat().st_size for p in kept.rglob("*") if p.is_file())
    if answer["kind"] == "pictures":
        n_bytes -= coming.stat().st_size  # which is not kept
    return Upload(sha256, answer["kind"], called, n_bytes, time.time(), answer["facts"])


def _why_ended(ended: Ended, called: str) -> str:
    if over := ended.overstepped(bounds.LOOKING):
        return f"{called} takes {over} to look at; send less, or a smaller network"
    return f"{called} cannot be read: the process that looks at it failed; make the file again"


def _check_wanted(found: Upload, wanted: Literal["model", "data"], called: str) -> None:
    if (found.kind == "onnx") != (wanted == "model"):
        asked = (
            "an ONNX file is asked for here" if wanted == "model" else "an .npz or a zip of pictures is asked for here"
        )
        raise Refused(f"{called} is {CALLED[found.kind]}; {asked}")


def _check_room(n_bytes: int, called: str) -> None:
    most, there = bounds.kept_at_most(), sum(upload.n_bytes for upload in kept_uploads())
    if there + n_bytes > most:
        raise Refused(
            f"{called} ({size(n_bytes)}) has no room: uploads take {size(there)} of {size(most)} here; whoever runs the server frees some "
            "with `paretoscope uploads --remove-unused`, or allows more with PARETOSCOPE_UPLOADS_GB"
        )


def _store(coming: Path, kept: Path, found: Upload, target: Path) -> None:
    """Put what is kept in its place, all at once."""
    if found.kind != "pictures":
        coming.rename(kept / FILES[found.kind])
    facts = found.facts.pop("checked", None)
    if facts is not None:
        (kept / FACTS).write_text(json.dumps(facts), encoding="utf-8")
    (kept / _ABOUT).write_text(json.dumps(asdict(found)), encoding="utf-8")
    try:
        kept.rename(target)
    except OSError:
        if _read(target) is None:  # not because another session was faster
            raise SetupError(f"{target} cannot be written; let the server's user write there") from None


def _read(folder: Path) -> Upload | None:
    try:
        upload = Upload(**json.loads((folder / _ABOUT).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return upload if upload.kind in FILES and upload.path.exists() else None


def kept_uploads() -> list[Upload]:
    """All that are kept, newest first."""
    root = uploads_path()
    folders = [p for p in root.iterdir() if _ID.fullmatch(p.name)] if root.is_dir() else []
    return sorted(filter(None, map(_read, folders)), key=lambda upload: -upload.came_s)


def upload_at(source: str) -> Upload | None:
    """The upload that a source of a spec names; None for any other source."""
    path = Path(source)
    if path.parent.parent != uploads_path() or not _ID.fullmatch(path.parent.name):
        return None
    found = _read(path.parent)
    return found if found is not None and found.path == path else None


def names_upload(source: str) -> bool:
    """Whether a source of a spec is an upload by its form, also one that is gone, or of a home that was moved."""
    folder = Path(source).parent
    return folder.parent.name == uploads_path().name and _ID.fullmatch(folder.name) is not None


def users(store: Store, uploads: Iterable[Upload]) -> dict[str, list[str]]:
    """SHA-256 of each upload -> the sweeps that name it, by their ids, also such as a page has only just started."""
    specs = {row.id: store.spec(row.id).model_dump_json() for row in store.sweeps()}
    for path in (home_path() / "specs").glob("*.yaml"):
        specs.setdefault(path.stem, path.read_text(encoding="utf-8", errors="replace"))
    return {u.sha256: [name for name, text in specs.items() if u.sha256 in text] for u in uploads}


def remove(store: Store, upload: Upload) -> None:
    """Remove one that no sweep names, however young; raises Refused where one does."""
    if named := users(store, [upload])[upload.sha256]:
        some = ", ".join(named[:3]) + (", …" if len(named) > 3 else "")
        raise Refused(
            f"{upload.name} is what {some} measured on or with; delete {'it' if len(named) == 1 else 'them'} first"
        )
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(uploads_path() / upload.sha256)


def remove_unused(store: Store) -> list[Upload]:
    """Remove those that no sweep names, but for the last hour's; what was removed."""
    everything = kept_uploads()
    used = users(store, everything)
    gone = []
    for upload in everything:
        folder = uploads_path() / upload.sha256
        with contextlib.suppress(OSError):
            young = time.time() - (folder / _ABOUT).stat().st_mtime < YOUNG_S
            if not used[upload.sha256] and not young:
                shutil.rmtree(folder)
                gone.append(upload)
    return gone
