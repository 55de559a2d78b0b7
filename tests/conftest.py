from collections.abc import Iterator
from itertools import count

import boto3
import pytest
from moto.server import ThreadedMotoServer

_BUCKETS = count()


@pytest.fixture(scope="session")
def object_store() -> Iterator[str]:
    """Address of an object store in this process, which heeds conditions of writes."""
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket_uri(object_store: str, monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> str:
    """Address of a prefix in a new bucket; the environment knows the way to it, and a cache of its own."""
    settings = {
        "AWS_ENDPOINT_URL": object_store,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "KOOPCAST_CACHE": f"{tmp_path}/cache",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    name = f"bucket-{next(_BUCKETS)}"
    client = boto3.client(
        "s3",
        endpoint_url=object_store,
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        region_name="us-east-1",
    )
    client.create_bucket(Bucket=name)
    client.close()
    return f"s3://{name}/store"
