"""Every kind of store and of artifact store that is supported, for one contract."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.store.artifacts import Artifacts
from engine.store.store import Store
from tests.helpers.servers import new_schema, postgres_server, s3_server


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a PostgreSQL server."""
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The address of an S3 server."""
    with s3_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An SQLAlchemy URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    return new_schema(request.getfixturevalue("postgres"), f"t{uuid.uuid4().hex}")


@pytest.fixture
def store(url: str) -> Store:
    """A new store."""
    return Store(url)


@pytest.fixture(autouse=True)
def _closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Programs end with their stores; a test that leaves a connection open is one whose successor is blamed for it."""
    opened: list[Store] = []
    init = Store.__init__

    def remembered(self: Store, url: str) -> None:
        opened.append(self)
        init(self, url)

    monkeypatch.setattr(Store, "__init__", remembered)
    yield
    for store in opened:
        if hasattr(store, "_engine"):
            store._engine.dispose()


@pytest.fixture(params=["folder", "memory", "s3"])
def artifacts(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Artifacts:
    """A new store of files."""
    name, url = f"a{uuid.uuid4().hex}", str(tmp_path / "own")
    if request.param == "memory":
        url = f"memory://{name}"
    elif request.param == "s3":
        # What AWS's own tools read.
        for key, value in {
            "AWS_ENDPOINT_URL": request.getfixturevalue("s3"), "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
        }.items():  # fmt: skip
            monkeypatch.setenv(key, value)
        import s3fs

        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem().mkdir(name)
        url = f"s3://{name}/artifacts"
    return Artifacts(url, tmp_path / "cache")
