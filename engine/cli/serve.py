"""`paretoscope serve`: bundles behind HTTP."""

from __future__ import annotations

from typing import Annotated

import typer


def serve(
    bundles: Annotated[
        list[str], typer.Argument(metavar="[NAME=]BUNDLE.zip…", help="Bundles; a file's name is its model's name.")
    ],
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 is every one.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes one that is free.")] = 8080,
    threads: Annotated[int, typer.Option(min=1, help="Threads of each model.")] = 1,
    batch: Annotated[int, typer.Option(min=1, help="Samples that go through a model at once, at most.")] = 32,
    queue: Annotated[int, typer.Option(min=1, help="Samples that may wait for a model; more are answered 503.")] = 512,
    memory: Annotated[
        int, typer.Option(min=1, metavar="MB", help="Memory of all models; those used longest ago go.")
    ] = 2048,
    body: Annotated[int, typer.Option(min=1, metavar="MB", help="Largest body of a request.")] = 64,
    canaries: Annotated[
        list[str],
        typer.Option("--canary", metavar="MODEL=CANARY:10%", help="A share of a model's requests for another."),
    ] = [],  # noqa: B006
) -> None:
    """Serve bundles: POST /v2/models/NAME/infer (Open Inference Protocol) and /predict; /healthz, /readyz, /metrics, /openapi.json."""
    from engine.serve.repository import Options
    from engine.serve.server import serve as serve_bundles

    options = Options(threads, batch, queue, memory * 10**6, body * 10**6)
    serve_bundles(bundles, host, port, options, canaries, lambda address: print(f"Paretoscope: {address}", flush=True))
