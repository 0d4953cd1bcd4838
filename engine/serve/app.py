"""The routes of a server: the Open Inference Protocol under /v2, /predict, health, metrics and their description."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy.typing as npt
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from engine import __version__
from engine.errors import InputError
from engine.serve import open_inference, plain
from engine.serve.canary import Canary
from engine.serve.errors import Busy, Malformed, Refused
from engine.serve.metrics import Metrics
from engine.serve.model import json_of, same_answers
from engine.serve.openapi import description
from engine.serve.repository import Loaded, Options, Repository

Array = npt.NDArray[Any]
T = TypeVar("T")
VERSION = "1"
"""Of every model: a bundle is one version, and another version is another bundle."""
BODY_S = 30.0
"""A body that takes longer to arrive is not waited for."""
_IN_LOOP = 64 << 10
"""Bodies up to this many bytes are read where they arrive; a thread costs more than they do."""

Handler = Callable[[Request], Awaitable[Response]]


def make_app(models: Repository, metrics: Metrics, options: Options, canaries: Sequence[Canary] = ()) -> Starlette:
    """The application over these models, which whoever makes it opens before and closes after."""
    server = _Server(models, metrics, options, canaries)
    model = "/v2/models/{name}"
    routes = [
        Route("/v2", server.about),
        *(Route(path, server.live) for path in ("/healthz", "/v2/health/live")),
        *(Route(path, server.ready) for path in ("/readyz", "/v2/health/ready")),
        Route("/metrics", server.counted),
        Route("/openapi.json", server.described),
    ]
    for path in (model, model + "/versions/{version}"):
        routes += [
            Route(path, server.metadata),
            Route(path + "/ready", server.model_ready),
            Route(path + "/infer", server.told("infer", server.infer), methods=["POST"]),
        ]
    routes += [
        Route(path, server.told("predict", server.predict), methods=["POST"])
        for path in ("/predict", "/predict/{name}")
    ]
    return Starlette(routes=routes, exception_handlers={404: _unknown, 405: _unknown})


class _Server:
    def __init__(self, models: Repository, metrics: Metrics, options: Options, canaries: Sequence[Canary]) -> None:
        self.models, self._metrics, self._options = models, metrics, options
        self._canaries = {canary.model: canary for canary in canaries}

    async def about(self, request: Request) -> Response:
        return _json({"name": "paretoscope", "version": __version__, "extensions": ["binary_tensor_data"]})

    async def live(self, request: Request) -> Response:
        return _json({"live": True})

    async def ready(self, request: Request) -> Response:
        return _json({"ready": self.models.ready, "models": list(self.models.names)}, 200 if self.models.ready else 503)

    async def counted(self, request: Request) -> Response:
        return Response(self._metrics.text(), media_type="text/plain; version=0.0.4")

    async def described(self, request: Request) -> Response:
        return _json(description(self.models.names))

    async def metadata(self, request: Request) -> Response:
        try:
            async with self.models.use(_name(request)) as loaded:
                model = loaded.model
        except Refused as error:
            return _refusal(error)
        about = {"trial": model.trial, "recipe": model.label, "classes": model.labels}
        return _json(
            {
                "name": request.path_params["name"],
                "versions": [VERSION],
                "platform": "onnxruntime_onnx",
                "inputs": [tensor.to_json() for tensor in model.inputs],
                "outputs": [tensor.to_json() for tensor in model.outputs],
                "parameters": {key: value for key, value in about.items() if value},
            }
        )

    async def model_ready(self, request: Request) -> Response:
        known = request.path_params["name"] in self.models.names and self.models.ready
        return _json({"name": request.path_params["name"], "ready": known}, 200 if known else 404)

    def told(self, way: str, handler: Handler) -> Handler:
        """The handler, its refusals as answers, counted and timed."""

        async def answered(request: Request) -> Response:
            name = request.path_params.get("name", self.models.names[0])
            known = name if name in self.models.names else "unknown"
            started = time.perf_counter()
            try:
                response = await handler(request)
            except Refused as error:
                response = _refusal(error)
            except InputError as error:  # a bundle that is no longer there, or no longer fits
                response = _refusal(Refused(500, str(error)))
            except ClientDisconnect:
                response = Response(status_code=499)
            self._metrics.seconds.labels(known, way).observe(time.perf_counter() - started)
            self._metrics.requests.labels(known, way, str(response.status_code)).inc()
            return response

        return answered

    async def infer(self, request: Request) -> Response:
        name, header = _name(request), request.headers.get(open_inference.HEADER)
        body = await self._body(request)
        asked, rest = await _aside(len(body), open_inference.request_of, body, header)
        async with self.models.use(name) as loaded:
            inputs = await _aside(len(body), open_inference.inputs_of, asked, rest, loaded.model.inputs)
            found = await self._answer(name, loaded, inputs)
            size = sum(array.nbytes for array in found)
            content, headers = await _aside(
                size, open_inference.answer, asked, name, VERSION, loaded.model.outputs, found
            )
        return Response(content, headers=headers)

    async def predict(self, request: Request) -> Response:
        name = request.path_params.get("name") or self.models.names[0]
        if "name" not in request.path_params and len(self.models.names) > 1:
            raise Malformed(f"several models are served; name one: /predict/{self.models.names[0]}", 404)
        body = await self._body(request)
        async with self.models.use(name) as loaded:
            model = loaded.model

            def read() -> dict[str, Array]:
                return model.fed(plain.inputs_in(body, model, self._options.body * 4))

            # In a thread whatever its size: a small picture may be large.
            found = await self._answer(name, loaded, await asyncio.to_thread(read))
            predictions = await asyncio.to_thread(plain.told_of, model, found)
        return _json({"model": name, "trial": model.trial, "predictions": predictions})

    async def _answer(self, name: str, loaded: Loaded, inputs: Mapping[str, Array]) -> list[Array]:
        """The model's outputs, or its canary's for those requests that it answers."""
        if (canary := self._canaries.get(name)) is None or not canary.drawn():
            return await loaded.ask(inputs)
        async with self.models.use(canary.canary) as other:
            if unlike := loaded.model.unlike(other.model):
                raise Refused(500, f"{canary.canary} has other {unlike} than {name}; it cannot be its canary")
            ours, theirs = await asyncio.gather(loaded.ask(inputs), other.ask(inputs))
        rows = len(ours[0])
        self._metrics.compared.labels(name, canary.canary).inc(rows)
        self._metrics.agreed.labels(name, canary.canary).inc(rows * same_answers(loaded.model, theirs, ours))
        return theirs

    async def _body(self, request: Request) -> bytes:
        """All of it, within limits of size and time; raises Refused."""
        if request.headers.get("content-encoding", "identity") != "identity":
            raise Malformed("compressed bodies are not read here; send it as it is", 415)
        most, parts, size = self._options.body, list[bytes](), 0
        stated = request.headers.get("content-length", "0")
        if stated.isascii() and stated.isdigit() and int(stated) > most:
            raise Malformed(f"the body is {int(stated) / 1e6:,.1f} MB; {most / 1e6:,.1f} are allowed", 413)
        try:
            async with asyncio.timeout(BODY_S):
                async for part in request.stream():
                    size += len(part)
                    if size > most:
                        raise Malformed(f"the body is over {most / 1e6:,.1f} MB, which are allowed", 413)
                    parts.append(part)
        except TimeoutError:
            raise Malformed(f"the body did not arrive within {BODY_S:.0f} s", 408) from None
        return b"".join(parts)


async def _aside(size: int, function: Callable[..., T], *args: Any) -> T:
    """The call, in a thread where so many bytes would hold up others."""
    return await asyncio.to_thread(function, *args) if size > _IN_LOOP else function(*args)


def _name(request: Request) -> str:
    if (version := request.path_params.get("version", VERSION)) != VERSION:
        raise Malformed(f"there is no version {version[:40]!r}; there is {VERSION}", 404)
    return str(request.path_params["name"])


def _json(value: Any, status: int = 200) -> Response:
    return Response(json_of(value), status, media_type="application/json")


def _refusal(error: Refused) -> Response:
    response = _json({"error": str(error)}, error.status)
    if isinstance(error, Busy):
        response.headers["retry-after"] = "1"
    return response


async def _unknown(request: Request, error: Exception) -> Response:
    status = int(getattr(error, "status_code", 404))
    return _json({"error": f"{request.method} {request.url.path[:200]} is nothing here; see /openapi.json"}, status)
