"""Filesystems of pyarrow's for fsspec, as a package of somebody's would add them: S3, and this machine's disk.

They let several processes share images, S3 through HTTP, without s3fs. `installed` makes the package.
"""

import os
from pathlib import Path

import pyarrow.fs
from fsspec.implementations.arrow import ArrowFSWrapper


class S3(ArrowFSWrapper):
    """At AWS_ENDPOINT_URL."""

    def __init__(self, **options):
        endpoint = os.environ["AWS_ENDPOINT_URL"]
        super().__init__(pyarrow.fs.S3FileSystem(endpoint_override=endpoint, region="us-east-1"), **options)


class Disk(ArrowFSWrapper):
    """Not one of those where objects appear whole."""

    def __init__(self, **options):
        super().__init__(pyarrow.fs.LocalFileSystem(), **options)


class Half(Disk):
    """Breaks off in the middle of each file that it writes."""

    def pipe_file(self, path, value, **options):
        super().pipe_file(path, value[: len(value) // 2], **options)
        raise OSError("the line broke off")


class Keeping(Disk):
    """A move does not replace, as on SMB and HDFS."""

    def mv(self, path1, path2, **options):
        if self.exists(path2):
            raise FileExistsError(path2)
        super().mv(path1, path2, **options)


STORES = {"s3": S3, "disk": Disk, "half": Half, "keeping": Keeping}


def installed(folder: Path) -> str:
    """The PYTHONPATH with which a new process's fsspec finds them, through metadata written to `folder`."""
    metadata = folder / "arrow_stores-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: arrow-stores\nVersion: 1\n")
    lines = [f"{protocol} = arrow_stores:{store.__name__}" for protocol, store in STORES.items()]
    (metadata / "entry_points.txt").write_text("\n".join(["[fsspec.specs]", *lines, ""]))
    return os.pathsep.join([str(folder), str(Path(__file__).parent)])
