"""Gives the shipped examples the keys of this version of the code: `python data/rekey_example.py`.

For changes that move code and leave what it does as it is. After any other change an example is remade (`make_example.py`), since its
files would carry the key of code that did not make them. Renames files and names, and writes the names of before into `renamed.json`, since
users' sweeps may rest on them; no number is touched.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from make_example import write_nodes

from engine.paths import EXAMPLES
from engine.run.code_digest import code_digests
from engine.run.planner import make_plan
from engine.spec.sweep import parse_sweep
from engine.trials.trial import Trial


def rekey(example: Path) -> None:
    """Rename what is under the keys of before."""
    shipped, nodes = (json.loads((example / name).read_text()) for name in ("sweep.json", "nodes.json"))
    sweep, where = parse_sweep(shipped["spec"]), Trial.from_json(shipped["trials"][0]).machine
    assert where is not None, "a measured trial names its machine"
    before, now = make_plan(sweep, where, nodes["code"].__getitem__), make_plan(sweep, where)
    keys = dict(zip(before.nodes, now.nodes, strict=True))
    unknown = {node["key"] for node in nodes["nodes"]} - keys.keys()
    if unknown:
        sys.exit(
            f"{len(unknown)} nodes of {example.name}/nodes.json are not in the plan of its code; remake the example"
        )
    if before.nodes.keys() == now.nodes.keys():
        print(f"{example.name}: its keys are those of this code already")
        return
    path = example / "renamed.json"
    renamed = json.loads(path.read_text()) if path.is_file() else {}
    for trial in shipped["trials"]:
        for part in ("artifact", "predictions"):
            key, _, suffix = trial[part].partition(".")
            name = f"{keys[key]}.{suffix}"
            (example / "artifacts" / trial[part]).rename(example / "artifacts" / name)
            renamed = {old: name if new == trial[part] else new for old, new in renamed.items()} | {trial[part]: name}
            trial[part] = name
    path.write_text(json.dumps(renamed, indent=0) + "\n")
    (example / "sweep.json").write_text(json.dumps(shipped, indent=1) + "\n")
    write_nodes(
        example, {**nodes, "code": code_digests(), "nodes": [{**n, "key": keys[n["key"]]} for n in nodes["nodes"]]}
    )
    print(f"{example.name}: {sum(old != new for old, new in keys.items())} of {len(keys)} keys are new")


def main() -> None:
    """Every example that is there; it takes no arguments, and does nothing where one is given."""
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    for example in EXAMPLES:
        if (example / "sweep.json").is_file():
            rekey(example)


if __name__ == "__main__":
    main()
