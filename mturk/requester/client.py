"""The Requester API of one market, through boto3: parameters checked before, retries bounded, errors in one line.

A market is where HITs are published: `local` (the server of `eyetune mturk serve`), AWS's `sandbox`, or `live`. Every
call that commits money carries its idempotency token, so a retry after an answer that got lost does nothing twice.
"""

import argparse
import random
import shlex
import sys
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from study.errors import InputError
from study.folder import Study

LOCAL = "http://127.0.0.1:8002"
AWS = {
    "sandbox": "https://mturk-requester-sandbox.us-east-1.amazonaws.com",
    "live": "https://mturk-requester.us-east-1.amazonaws.com",
}
CLOSED = (
    "note: AWS's documentation says that Amazon Mechanical Turk closed on 30 September 2026; calls to it may fail."
    " With --endpoint the same commands work against any server that speaks its API."
)
REGION = "us-east-1"  # MTurk has no other; another name would give a host that does not exist
TRIES = 8  # of one call; the pauses between them add up to about half a minute
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 8.0  # seconds
ANSWER_WAIT = 30  # seconds for one answer
THROTTLED = {"ThrottlingException", "Throttling", "RequestLimitExceeded", "TooManyRequestsException"}
UNREPEATABLE = {"NotifyWorkers"}  # done again it writes again: not tried again where an answer got lost


class Refused(InputError):
    """MTurk will not do it. `code` is its TurkErrorCode, for example AWS.MechanicalTurk.HITDoesNotExist."""

    def __init__(self, operation: str, code: str, message: str) -> None:
        super().__init__(f"MTurk refuses {operation}: {' '.join(message.split()) or code}")
        self.code = code
        self.message = message


class Unanswered(InputError):
    """Whether MTurk has carried out the call is not known."""


class Requester:
    """A requester's account in one market."""

    def __init__(self, market: str, endpoint: str, answer_wait: float = ANSWER_WAIT) -> None:
        """`endpoint` is the API's address; `answer_wait` the seconds that one answer may take."""
        import boto3
        from botocore.config import Config

        self.market = market
        self.endpoint = endpoint
        # The local server knows accounts by their key id alone, and no real key is to be shown to it.
        keys = {"aws_access_key_id": "EYETUNE", "aws_secret_access_key": "local"} if market == "local" else {}
        config = Config(
            connect_timeout=answer_wait,
            read_timeout=answer_wait,
            retries={"total_max_attempts": 1},  # ours know which errors are worth it, and tell what they wait for
            proxies={} if market == "local" else None,
        )
        self._client = boto3.Session().client("mturk", region_name=REGION, endpoint_url=endpoint, config=config, **keys)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """The answer to one call, for example `call("GetHIT", HITId=...)`.

        Raises Refused where MTurk says no, Unanswered where it gives no answer after TRIES tries, InputError for
        parameters that its documentation does not allow and for missing credentials.
        """
        from botocore import exceptions, xform_name

        from mturk.service_model import check

        check(operation, parameters)
        method = getattr(self._client, xform_name(operation))
        for attempt in range(TRIES):
            if attempt:
                time.sleep(random.uniform(0.5, 1) * min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (attempt - 1)))
            try:
                answer: dict[str, Any] = method(**parameters)
                self._check_speaker(operation, answer)
                return answer
            except exceptions.ClientError as error:
                code = str(error.response.get("Error", {}).get("Code", ""))
                status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
                if status < 500 and code not in THROTTLED:
                    self._check_speaker(operation, error.response)
                    raise self._refusal(operation, error.response) from None
                trouble = f"{code or status}"
                if code in THROTTLED:  # certainly not done
                    continue
            except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError):
                raise InputError(
                    "no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
                ) from None
            except exceptions.ParamValidationError as error:
                raise InputError(f"{operation}: {' '.join(str(error).split())}") from None
            except (exceptions.HTTPClientError, exceptions.ConnectionError) as error:
                if isinstance(error, exceptions.EndpointConnectionError) and self.market == "local":
                    raise Unanswered(
                        f"no MTurk server answers at {self.endpoint}; start one: eyetune mturk serve PANEL"
                    ) from None
                trouble = type(error).__name__
            if operation in UNREPEATABLE:
                raise Unanswered(
                    f"{self.endpoint} gave no answer to {operation} ({trouble}); whether it was carried out is not"
                    " known, and the same command would do it again"
                )
        raise Unanswered(
            f"{self.endpoint} gave no answer to {operation} in {TRIES} tries ({trouble}); nothing is lost: the same"
            " command goes on from there"
        )

    def pages(self, operation: str, key: str, **parameters: Any) -> Iterator[dict[str, Any]]:
        """Every item of a listing, for example `pages("ListHITs", "HITs")`."""
        token: dict[str, str] = {}
        while True:
            answer = self.call(operation, MaxResults=100, **parameters, **token)
            yield from answer.get(key, [])
            if not answer.get("NextToken") or not answer.get(key):
                return
            token = {"NextToken": answer["NextToken"]}

    def _check_speaker(self, operation: str, response: dict[str, Any]) -> None:
        """Raise Unanswered where not MTurk answered: botocore takes any web page for an answer without members."""
        metadata = response.get("ResponseMetadata", {})
        kind = str(metadata.get("HTTPHeaders", {}).get("content-type", "nothing"))
        if not kind.startswith("application/x-amz-json"):
            raise Unanswered(
                f"{self.endpoint} does not speak MTurk's API: it answered {operation} with {kind.partition(';')[0]}"
                f" (HTTP {metadata.get('HTTPStatusCode')}); check --endpoint"
            )

    def _refusal(self, operation: str, response: dict[str, Any]) -> InputError:
        error = response.get("Error", {})
        code = str(response.get("TurkErrorCode") or error.get("TurkErrorCode") or error.get("Code", ""))
        return Refused(operation, code, str(error.get("Message", "") or response.get("Message", "")))


def add_market_options(parser: argparse.ArgumentParser) -> None:
    """The options that name the market, for every verb that calls MTurk."""
    market = parser.add_argument_group("market (default: the local server)")
    which = market.add_mutually_exclusive_group()
    which.add_argument("--sandbox", action="store_true", help="AWS's sandbox, where no money moves")
    which.add_argument("--live", action="store_true", help="for money: AWS's MTurk, or the server of --endpoint")
    market.add_argument(
        "--endpoint", metavar="URL", help=f"a server that speaks MTurk's API (local: {LOCAL}; live: AWS)"
    )


def market_of(options: argparse.Namespace) -> str:
    """local, sandbox or live, as `options` say."""
    if options.sandbox and options.endpoint:
        raise InputError("--sandbox is AWS's own; leave --endpoint out, or --sandbox")
    return "live" if options.live else "sandbox" if options.sandbox else "local"


def command(verb: str, study: Study, options: argparse.Namespace) -> str:
    """The command line of another verb for the same study in the market of `options`."""
    market = market_of(options)
    words = ["eyetune", "mturk", verb, str(study.root)]
    words += [f"--{market}"] if market != "local" else []
    words += ["--endpoint", options.endpoint] if options.endpoint else []
    return shlex.join(words)


def open_market(options: argparse.Namespace) -> Requester:
    """The market that `options` name. Says first where AWS is meant that AWS has closed it."""
    market = market_of(options)
    endpoint = options.endpoint or AWS.get(market, LOCAL)
    try:
        parts = urlsplit(endpoint)
        fits = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        fits = fits and not (parts.query or parts.fragment)
    except ValueError:
        fits = False
    if "@" in endpoint:
        raise InputError(f"--endpoint: no name or password in the address, please; it must look like {LOCAL}")
    if not fits:
        raise InputError(f"--endpoint {endpoint}: must look like {LOCAL}")
    if options.endpoint and parts.hostname in {urlsplit(own).hostname for own in AWS.values()}:
        raise InputError("--endpoint: AWS's own addresses are chosen by --sandbox and --live; leave --endpoint out")
    if market in AWS and not options.endpoint:
        print(CLOSED, file=sys.stderr)

    from botocore.exceptions import BotoCoreError

    try:
        return Requester(market, endpoint)
    except BotoCoreError as error:  # for example a profile that does not exist; never the credentials themselves
        raise InputError(f"boto3 cannot be set up: {' '.join(str(error).split())}") from None
