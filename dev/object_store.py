"""An S3-compatible store on this machine, for tests: moto's server, which keeps its objects in memory.

`python dev/object_store.py PORT BUCKET` serves until it is ended.
"""

import sys
import threading
import urllib.request
from collections.abc import Callable, Iterable
from typing import Any

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

KEYS = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
"""The stand-in lets anybody in, and its clients refuse to ask without keys."""


class Quiet(WSGIRequestHandler):
    """Logs no requests."""

    def log_request(self, *_: Any) -> None:
        """Nothing."""


class ObjectStore:
    """A store with one bucket, while the block lasts; `requests` holds the methods and paths of what was asked."""

    def __init__(self, bucket: str, port: int = 0) -> None:
        self.bucket = bucket
        self.requests: list[tuple[str, str]] = []
        self._answer = DomainDispatcherApplication(create_backend_app)
        self._server: BaseWSGIServer = make_server(
            "127.0.0.1", port, self._counted, threaded=True, request_handler=Quiet
        )
        self.endpoint = f"http://127.0.0.1:{self._server.port}"

    def __enter__(self) -> "ObjectStore":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.client().create_bucket(Bucket=self.bucket)
        return self

    def __exit__(self, *_: object) -> None:
        # Else another store of this process would hold the same objects.
        urllib.request.urlopen(f"{self.endpoint}/moto-api/reset", data=b"").close()  # noqa: S310 - our own server
        self._server.shutdown()

    def client(self) -> Any:
        """A client of the store."""
        return boto3.client("s3", endpoint_url=self.endpoint, region_name="us-east-1", **KEYS)

    def connection(self) -> dict[str, Any]:
        """Airflow's connection to it, as JSON wants it."""
        return {
            "conn_type": "aws",
            "login": KEYS["aws_access_key_id"],
            "password": KEYS["aws_secret_access_key"],
            "extra": {"endpoint_url": self.endpoint, "region_name": "us-east-1"},
        }

    def keys(self, prefix: str = "") -> list[str]:
        """The keys of its objects."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [found["Key"] for page in pages for found in page.get("Contents", [])]

    def _counted(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        self.requests.append((environ["REQUEST_METHOD"], environ["PATH_INFO"]))
        return self._answer(environ, start)  # type: ignore[no-any-return]


def main(port: int, bucket: str) -> None:
    """Serve until the process is ended."""
    with ObjectStore(bucket, port):
        threading.Event().wait()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
