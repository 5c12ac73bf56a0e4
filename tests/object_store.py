"""A real S3-compatible server on loopback: S3Proxy (Apache-2.0), a Java program from Maven Central.

Fetched once into ``.cache``, which git ignores. Without Java and Maven the tests that need it are
skipped by name on a visitor's machine, and fail where ``CI`` is set.
"""

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent
VERSION: Final = "2.6.0"
JAR: Final = ROOT / ".cache" / f"s3proxy-{VERSION}-jar-with-dependencies.jar"
BUCKET: Final = "bucket"
CREDENTIALS: Final = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "a secret for tests"}


@dataclass(frozen=True)
class ObjectStore:
    """The server: where it listens, and where the bucket's files are on the disk."""

    endpoint: str
    bucket: Path

    def place(self, prefix: str) -> str:
        """The setting that leads to a part of the bucket."""
        return f"s3://{BUCKET}/{prefix}?endpoint={self.endpoint}&region=us-east-1"


@contextmanager
def object_store(folder: Path) -> Iterator[ObjectStore]:
    """The server with an empty bucket, until the end of the block."""
    java = _needed("java")
    bucket = folder / "data" / BUCKET
    bucket.mkdir(parents=True)
    settings = folder / "s3proxy.conf"
    settings.write_text(
        "s3proxy.endpoint=http://127.0.0.1:0\n"
        "s3proxy.authorization=aws-v4\n"
        f"s3proxy.identity={CREDENTIALS['AWS_ACCESS_KEY_ID']}\n"
        f"s3proxy.credential={CREDENTIALS['AWS_SECRET_ACCESS_KEY']}\n"
        "jclouds.provider=filesystem\n"
        f"jclouds.filesystem.basedir={bucket.parent}\n"
    )
    command = [
        java,
        "-Xmx128m",
        "-XX:+UseSerialGC",
        "-jar",
        str(_jar()),
        "--properties",
        str(settings),
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as server:
        assert server.stdout is not None
        try:
            said: list[str] = []
            for line in server.stdout:
                said.append(line)
                if started := re.search(r"Started ServerConnector.*\{127\.0\.0\.1:(\d+)\}", line):
                    break
            else:
                raise AssertionError("S3Proxy did not start:\n" + "".join(said))
            # It goes on talking, and must not wait for somebody to listen.
            threading.Thread(target=server.stdout.read, daemon=True).start()
            yield ObjectStore(f"http://127.0.0.1:{started[1]}", bucket)
        finally:
            server.kill()


def _jar() -> Path:
    if not JAR.exists():
        maven = _needed("mvn")
        artifact = f"org.gaul:s3proxy:{VERSION}:jar:jar-with-dependencies"
        subprocess.run(
            [
                maven, "-B", "-ntp", "-q",
                "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy",
                f"-Dartifact={artifact}", f"-DoutputDirectory={JAR.parent}",
            ],
            check=True,
            timeout=600,
        )  # fmt: skip
    return JAR


def _needed(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        reason = f"an S3-compatible server needs {program}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found
