"""Where a form's files lie for browsers: an S3 bucket, or a folder that some static web server shows.

Nothing is made public here: no access rules are set. Browsers reach the files at `hits.images_url`, or, where that is
empty, by S3 addresses that carry a signature and an end (AWS Signature Version 4 allows seven days).
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from mturk.questions.external import check_address
from study.errors import InputError
from study.files import write_bytes
from study.folder import Study
from study.recruiting_settings import Hits

LONGEST_SIGNED = 7 * 24 * 60  # minutes that a signed address can hold
WHILE_PUBLISHING = 60  # minutes between the signature and the HIT, at most
TRIES = 5  # of one request
ANSWER_WAIT = 60  # seconds
REFUSED = {"NoSuchBucket": "there is no such bucket", "404": "there is no such bucket", "403": "access denied"}


class Place(Protocol):
    """Somewhere to write files to that browsers can read."""

    def holds(self, name: str, length: int) -> bool:
        """Whether a file of this name and length, in bytes, is there."""

    def write(self, name: str, data: bytes, content_type: str, cache: str) -> None:
        """Write a file, whole or not at all; `cache` is its Cache-Control, where the place keeps one."""

    def address(self, name: str) -> str:
        """Where a browser reads the file."""

    def close(self) -> None:
        """Hang up."""


def open_place(study: Study) -> Place:
    """The place that `hits.upload` names. Raises InputError where it cannot be used as set."""
    hits = study.settings.hits
    if hits.images_url:
        check_address(hits.images_url, f"{study.settings_path}: hits.images_url")
        if "?" in hits.images_url:
            raise InputError(f"{study.settings_path}: hits.images_url: no '?...' please: file names are appended to it")
    if not hits.upload:
        raise InputError(
            f"{study.settings_path}: hits.upload is needed for forms: s3://bucket/prefix, or a folder that a web server"
            " shows at hits.images_url"
        )
    if hits.upload.startswith("s3:"):
        return S3Place(hits, str(study.settings_path))
    if not hits.images_url:
        raise InputError(
            f"{study.settings_path}: hits.images_url is needed where hits.upload is a folder: its address on the web"
        )
    return FolderPlace(study.root / hits.upload, hits.images_url)


class FolderPlace:
    """A folder; what shows it to browsers is somebody else's."""

    def __init__(self, folder: Path, url: str) -> None:
        """`url` is where browsers find the folder."""
        self._folder = folder
        self._url = url

    def holds(self, name: str, length: int) -> bool:
        """Whether a file of this name and length, in bytes, is there."""
        path = self._folder / name
        return path.is_file() and path.stat().st_size == length

    def write(self, name: str, data: bytes, content_type: str, cache: str) -> None:
        """Write a file; of its type and cache a static web server knows by the name and its own settings."""
        write_bytes(self._folder / name, data, durable=False)

    def address(self, name: str) -> str:
        """Where a browser reads the file."""
        return _joined(self._url, name)

    def close(self) -> None:
        """Nothing to hang up."""


class S3Place:
    """A prefix in a bucket, with the credentials and endpoint that boto3 finds (environment, AWS's own files)."""

    def __init__(self, hits: Hits, where: str) -> None:
        """Raises InputError for a bucket that is not there or not ours; `where` the settings are begins it."""
        import boto3
        from botocore.config import Config

        named = re.fullmatch(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/([A-Za-z0-9!_.*'()/-]*))?", hits.upload)
        if not named:
            raise InputError(f"{where}: hits.upload = {hits.upload!r}: not like s3://bucket/prefix")
        self._bucket, prefix = named[1], (named[2] or "").strip("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._url = hits.images_url
        besides = hits.duration_minutes + WHILE_PUBLISHING  # who accepts last works that long
        self._seconds = 60 * (60 * hits.lifetime_hours + besides)
        if not self._url and self._seconds > 60 * LONGEST_SIGNED:
            most = (LONGEST_SIGNED - besides) // 60
            shorter = f"set hits.lifetime_hours to {most} or less" if most >= 1 else "set hits.duration_minutes lower"
            raise InputError(
                f"{where}: signed S3 addresses hold seven days at most, and the HITs need them longer (lifetime_hours ="
                f" {hits.lifetime_hours}, then duration_minutes = {hits.duration_minutes} for who accepts last, and an"
                f" hour to publish); {shorter}, or set hits.images_url"
            )
        config = Config(
            signature_version="s3v4",
            s3={"addressing_style": "virtual"},  # or the signed address leads to another region's host
            retries={"mode": "standard", "total_max_attempts": TRIES},
            connect_timeout=ANSWER_WAIT,
            read_timeout=ANSWER_WAIT,
            max_pool_connections=16,
        )
        self._client: Any = None
        try:
            with self._explained("HeadBucket"):
                session = boto3.Session()
                credentials = session.get_credentials()
                if not self._url and credentials is not None and credentials.token:
                    raise InputError(
                        f"{where}: the AWS credentials at hand are temporary, and addresses signed with them end with"
                        " them; use a key of an IAM user, or set images_url"
                    )
                self._client = session.client("s3", region_name=session.region_name or "us-east-1", config=config)
                region = self._region()
                if region != self._client.meta.region_name:  # a signature is good for one region
                    self._client.close()
                    self._client = session.client("s3", region_name=region, config=config)
        except BaseException:
            self.close()
            raise

    def holds(self, name: str, length: int) -> bool:
        """Whether a file of this name and length, in bytes, is there."""
        from botocore.exceptions import ClientError

        with self._explained("HeadObject"):
            try:
                return self._client.head_object(Bucket=self._bucket, Key=self._prefix + name)["ContentLength"] == length
            except ClientError as error:
                # S3 says 403 of what is not there to who may not list the bucket. If it is forbidden, writing tells.
                if error.response["Error"]["Code"] in ("404", "403", "NoSuchKey"):
                    return False
                raise

    def write(self, name: str, data: bytes, content_type: str, cache: str) -> None:
        """Write a file with its type and Cache-Control."""
        with self._explained("PutObject"):
            self._client.put_object(
                Bucket=self._bucket, Key=self._prefix + name, Body=data, ContentType=content_type, CacheControl=cache
            )

    def address(self, name: str) -> str:
        """Where a browser reads the file: below images_url, or signed for as long as a HIT lives, from now on."""
        if self._url:
            return _joined(self._url, name)
        with self._explained("GetObject"):
            url: str = self._client.generate_presigned_url(
                "get_object", Params={"Bucket": self._bucket, "Key": self._prefix + name}, ExpiresIn=self._seconds
            )
        check_address(url, "the signed S3 address")
        return url

    def close(self) -> None:
        """Hang up."""
        if self._client is not None:
            self._client.close()

    def _region(self) -> str:
        """The bucket's region, which S3 also tells who may write files but not list them."""
        from botocore.exceptions import ClientError

        try:
            answer = self._client.head_bucket(Bucket=self._bucket)
        except ClientError as error:
            if error.response["Error"]["Code"] != "403":
                raise
            answer = error.response
        default: str = self._client.meta.region_name
        return str(answer["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region", default))

    @contextmanager
    def _explained(self, operation: str) -> Iterator[None]:
        """boto3's errors as an InputError of S3's error code alone: whole answers may quote what was signed."""
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

        try:
            yield
        except NoCredentialsError:
            raise InputError(
                f"s3://{self._bucket}: no AWS credentials found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or"
                " run: aws configure"
            ) from None
        except ClientError as error:
            code = error.response["Error"]["Code"]
            reason = REFUSED.get(code, code)
            raise InputError(
                f"s3://{self._bucket}: {operation} was refused: {reason}; check hits.upload and the credentials' rights"
            ) from None
        except BotoCoreError as error:
            raise InputError(
                f"s3://{self._bucket}: {operation} got no answer ({type(error).__name__}); the same command goes on"
            ) from None


def _joined(url: str, name: str) -> str:
    return f"{url.rstrip('/')}/{name}"
