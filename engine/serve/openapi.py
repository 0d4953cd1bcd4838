"""The server's description of itself, for generators of clients: OpenAPI 3.1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine import __version__

_TENSOR = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "datatype": {"type": "string", "examples": ["FP32", "INT64", "UINT8"]},
        "data": {"type": "array", "description": "Numbers, flat or nested."},
        "parameters": {"type": "object", "properties": {"binary_data_size": {"type": "integer"}}},
    },
}
_SCHEMAS: dict[str, Any] = {
    "Error": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}},
    "Tensor": _TENSOR,
    "InferenceRequest": {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "inputs": {"type": "array", "items": {"$ref": "#/components/schemas/Tensor"}},
            "outputs": {"type": "array", "items": {"type": "object", "required": ["name"]}},
        },
    },
    "InferenceAnswer": {
        "type": "object",
        "properties": {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "outputs": {"type": "array", "items": {"$ref": "#/components/schemas/Tensor"}},
        },
    },
    "Predictions": {
        "type": "object",
        "properties": {
            "model": {"type": "string"},
            "trial": {"type": "string"},
            "predictions": {
                "type": "array",
                "description": "One a sample: class, share and the likeliest classes, or values.",
                "items": {"type": "object"},
            },
        },
    },
}


def description(names: Sequence[str]) -> dict[str, Any]:
    """The document for models of these names."""
    model = {"name": "name", "in": "path", "required": True, "schema": {"type": "string", "enum": list(names)}}
    samples = {
        kind: {"schema": {"type": "string", "format": "binary"}}
        for kind in ("image/*", "audio/wav", "application/octet-stream")
    }
    plain = {
        "summary": "What the model says of samples as they are stored: a picture, a .wav, .npy, .npz or JSON.",
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"type": "object", "required": ["inputs"]}}, **samples},
        },
        "responses": _answers("Predictions", refusals=(400, 404, 408, 413, 415, 500, 503)),
    }
    infer = {
        "summary": "The graph's outputs for its inputs (Open Inference Protocol, binary tensors too).",
        "parameters": [model],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/InferenceRequest"}}},
        },
        "responses": _answers("InferenceAnswer", refusals=(400, 404, 408, 413, 415, 500, 503)),
    }
    paths: dict[str, Any] = {
        "/v2/models/{name}/infer": {"post": infer},
        "/v2/models/{name}": {"get": _read("The model's inputs and outputs.", [model])},
        "/v2/models/{name}/ready": {"get": _read("Whether the model can be asked.", [model])},
        "/predict/{name}": {"post": plain | {"parameters": [model]}},
        "/v2": {"get": _read("The server's name and version.")},
        "/healthz": {"get": _read("Whether the process lives.")},
        "/readyz": {"get": _read("Whether requests are answered.")},
        "/metrics": {"get": _read("Counters in Prometheus' text format.")},
    }
    if len(names) == 1:
        paths["/predict"] = {"post": plain}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Paretoscope", "version": __version__, "description": f"Models: {', '.join(names)}."},
        "paths": paths,
        "components": {"schemas": _SCHEMAS},
    }


def _read(summary: str, parameters: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    found: dict[str, Any] = {"summary": summary, "responses": {"200": {"description": "Told."}}}
    return found | ({"parameters": list(parameters)} if parameters else {})


def _answers(schema: str, refusals: Sequence[int]) -> dict[str, Any]:
    def json(name: str) -> dict[str, Any]:
        return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}

    told = {str(status): {"description": "Why not, in a line.", "content": json("Error")} for status in refusals}
    return {"200": {"description": "The answer.", "content": json(schema)}, **told}
