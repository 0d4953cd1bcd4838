"""The Open Inference Protocol: the documents' own forms, JSON and binary, held against ONNX Runtime; what is wrong is told in a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime
import pytest

from tests.helpers.bundles import World
from tests.helpers.serving import posted, with_server

INFER = "/v2/models/net/infer"


def prepared(world: World, n: int) -> Any:
    return world.data.preprocessing(world.data.test.inputs[:n])


def expected(world: World, x: Any) -> Any:
    return onnxruntime.InferenceSession(str(world.model)).run(None, {"pixels": x})[0]


def tensor(x: Any, **changes: Any) -> dict[str, Any]:
    return {"name": "pixels", "shape": list(x.shape), "datatype": "FP32", "data": x.reshape(-1).tolist()} | changes


@pytest.mark.parametrize("nested", [False, True])
def test_numbers_in_json_flat_or_row_by_row(world: World, bundle: Path, nested: bool) -> None:
    x = prepared(world, 3)
    body = {"id": "42", "inputs": [tensor(x, data=x.tolist() if nested else x.reshape(-1).tolist())]}
    answer = posted({"net": bundle}, INFER, json=body).json()
    output = answer["outputs"][0]
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("net", "1", "42")
    assert (output["name"], output["datatype"], output["shape"]) == ("scores", "FP32", [3, 4])
    np.testing.assert_allclose(np.reshape(output["data"], (3, 4)), expected(world, x), rtol=1e-5)


def test_binary_tensors_both_ways(world: World, bundle: Path) -> None:
    x = prepared(world, 5)
    size = {"binary_data_size": x.nbytes}
    about = tensor(x, parameters=size)
    del about["data"]
    outputs = [{"name": "scores", "parameters": {"binary_data": True}}]
    head = json.dumps({"inputs": [about], "outputs": outputs}).encode()
    answer = posted(
        {"net": bundle},
        INFER,
        content=head + x.tobytes(),
        headers={"Inference-Header-Content-Length": str(len(head))},
    )
    length = int(answer.headers["Inference-Header-Content-Length"])
    told = json.loads(answer.content[:length])["outputs"][0]
    found = np.frombuffer(answer.content[length:], "<f4").reshape(told["shape"])
    assert told["parameters"] == {"binary_data_size": found.nbytes}
    np.testing.assert_allclose(found, expected(world, x), rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": "other"}, "no input 'other'"),
        ({"datatype": "UINT8"}, "/predict takes samples as they are stored"),
        ({"shape": [1, 3, 5]}, "any size"),
        ({"shape": [1, 3, 5, 7]}, "any size"),
        ({"shape": [2, 3, 5, 6]}, "180 numbers"),
        ({"shape": [0, 3, 5, 6]}, "no rows"),
        ({"shape": "all"}, "list of sizes"),
        ({"shape": [True, 3, 5, 6]}, "list of sizes"),
        ({"data": ["a"] * 90}, "90 numbers"),
        ({"data": [[1, 2], [3]]}, "ragged"),
        ({"data": None}, "90 numbers"),
        ({"data": [1e39] * 90}, "too large for float32"),
        ({"parameters": {"binary_data_size": 360}}, "0 are there"),
        ({"parameters": []}, "must be an object"),
    ],
)
def test_a_tensor_that_does_not_fit_is_told(world: World, bundle: Path, change: dict[str, Any], told: str) -> None:
    answer = posted({"net": bundle}, INFER, json={"inputs": [tensor(prepared(world, 1), **change)]})
    assert answer.status_code == 400
    assert told in answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "no JSON"),
        (b"[1]", "JSON object"),
        (b'{"inputs": {}}', "list of tensors"),
        (b'{"inputs": []}', "'pixels' is missing"),
        (b'{"inputs": [NaN]}', "NaN is no number"),
        (b"[" * 100_000, "no JSON"),
        (b"\xff\xfe", "no JSON"),
    ],
)
def test_a_body_that_is_none_is_told(bundle: Path, body: bytes, told: str) -> None:
    answer = posted({"net": bundle}, INFER, content=body)
    assert answer.status_code == 400
    assert told in answer.json()["error"]


def test_requests_that_ask_for_what_is_not_there(world: World, bundle: Path) -> None:
    good = tensor(prepared(world, 1))

    async def ask(client: httpx.AsyncClient) -> list[httpx.Response]:
        return [
            await client.post(INFER, json={"inputs": [good, good]}),
            await client.post(INFER, json={"inputs": [good], "outputs": [{"name": "x"}]}),
            await client.post(INFER, json={"inputs": [good]}, headers={"Inference-Header-Content-Length": "9999999"}),
            await client.post(INFER, json={"inputs": [good]}, headers={"Content-Encoding": "gzip"}),
            await client.post("/v2/models/nix/infer", json={"inputs": [good]}),
            await client.post("/v2/models/net/versions/7/infer", json={"inputs": [good]}),
            await client.get(INFER),
            await client.post("/nothing"),
        ]

    answers = with_server({"net": bundle}, ask)
    assert [a.status_code for a in answers] == [400, 400, 400, 415, 404, 404, 405, 404]
    assert all(a.json()["error"] for a in answers)


def test_metadata_health_and_description_agree(bundle: Path) -> None:
    async def ask(client: httpx.AsyncClient) -> list[httpx.Response]:
        paths = (
            "/v2",
            "/v2/models/net",
            "/v2/models/net/ready",
            "/v2/health/ready",
            "/healthz",
            "/readyz",
            "/openapi.json",
        )
        return [await client.get(path) for path in paths]

    answers = with_server({"net": bundle}, ask)
    assert [a.status_code for a in answers] == [200] * 7
    about = answers[1].json()
    assert about["inputs"] == [{"name": "pixels", "datatype": "FP32", "shape": [-1, 3, 5, 6]}]
    assert about["outputs"] == [{"name": "scores", "datatype": "FP32", "shape": [-1, 4]}]
    described = answers[6].json()
    assert {"/v2/models/{name}/infer", "/predict", "/predict/{name}", "/metrics"} <= set(described["paths"])
    named = json.dumps(described)
    for schema in ("Error", "InferenceRequest", "InferenceAnswer", "Predictions", "Tensor"):
        assert f"#/components/schemas/{schema}" in named
        assert schema in described["components"]["schemas"]


def test_an_output_whose_name_is_no_text_is_told(world: World, bundle: Path) -> None:
    x = prepared(world, 1)
    answer = posted({"net": bundle}, INFER, json={"inputs": [tensor(x, data=x.tolist())], "outputs": [{"name": ["a"]}]})
    assert (answer.status_code, "no output" in answer.json()["error"]) == (400, True)
