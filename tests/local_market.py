"""A local MTurk for tests: its API over HTTP, a clock that a test can set, and boto3 clients."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import boto3
import pytest
from botocore.config import Config

from mturk.server import money, worklife
from mturk.server.api import create_api
from mturk.server.listening import serving
from mturk.server.state import State, open_state

SCHEMAS = "http://mechanicalturk.amazonaws.com/AWSMechanicalTurkDataSchemas/"
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR, DAY = 3600, 86_400


def external(url: str = "https://example.org/study?a=1&b=2", height: int = 0) -> str:
    """An ExternalQuestion."""
    return (
        f'<ExternalQuestion xmlns="{SCHEMAS}2006-07-14/ExternalQuestion.xsd"><ExternalURL>{escape(url)}</ExternalURL>'
        f"<FrameHeight>{height}</FrameHeight></ExternalQuestion>"
    )


def html(content: str = "<p>Hello</p>") -> str:
    """An HTMLQuestion."""
    return (
        f'<HTMLQuestion xmlns="{SCHEMAS}2011-11-11/HTMLQuestion.xsd"><HTMLContent><![CDATA[{content}]]></HTMLContent>'
        "<FrameHeight>400</FrameHeight></HTMLQuestion>"
    )


HIT: dict[str, Any] = {
    "Title": "Compare images",
    "Description": "Which one is closer?",
    "Reward": "1.00",
    "AssignmentDurationInSeconds": HOUR,
    "LifetimeInSeconds": DAY,
    "AutoApprovalDelayInSeconds": 3 * DAY,
    "Question": external(),
}


class Clock:
    """A time that stands still until it is moved."""

    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> datetime:
        return self.time

    def forward(self, seconds: float) -> None:
        """Let time pass."""
        self.time += timedelta(seconds=seconds)


@dataclass
class Market:
    """A server that runs: its state, clock and address, a client of one requester, and clients of others."""

    state: State
    clock: Clock
    url: str
    client: Any
    connect: Callable[[str], Any]

    def hit(self, **changes: Any) -> str:
        """The id of a new HIT; a change to None leaves the parameter out."""
        parameters = {name: value for name, value in (HIT | changes).items() if value is not None}
        return str(self.client.create_hit(**parameters)["HIT"]["HITId"])

    def shown(self, hit_id: str) -> dict[str, Any]:
        """What GetHIT says."""
        found: dict[str, Any] = self.client.get_hit(HITId=hit_id)["HIT"]
        return found

    def worker(self, name: str = "Ann") -> str:
        """The id of a worker of that name."""
        return worklife.add_worker(self.state, name)

    def submitted(self, hit_id: str, worker: str, answer: str = "yes") -> str:
        """The id of an assignment that the worker accepted and submitted."""
        assignment = worklife.accept(self.state, worker, hit_id)
        worklife.submit(self.state, worker, assignment, [("assignmentId", assignment), ("answer", answer)])
        return assignment

    def balance(self) -> tuple[str, str]:
        """What GetAccountBalance says: available and on hold."""
        answer = self.client.get_account_balance()
        return answer["AvailableBalance"], answer["OnHoldBalance"]

    def refused(self, code: str, operation: str, **parameters: Any) -> str:
        """The message of the RequestError with that code, which the operation must raise."""
        with pytest.raises(self.client.exceptions.RequestError) as error:
            getattr(self.client, operation)(**parameters)
        response = error.value.response
        wanted = code if code.startswith("AWS.") else f"AWS.MechanicalTurk.{code}"
        assert response["TurkErrorCode"] == wanted
        assert response["Error"]["Message"].endswith(f"({wanted})")
        assert response["ResponseMetadata"]["HTTPStatusCode"] == 400
        return str(response["Error"]["Message"])

    def check_books(self) -> None:
        """The books add up."""
        with self.state.transaction() as connection:
            assert money.discrepancies(connection) == []


@contextmanager
def running_market(folder: Path, opening_cents: int = 1_000_000) -> Iterator[Market]:
    """A market with its state in `folder`. Its books are checked at the end."""
    clock = Clock()
    state = open_state(folder / "panel.sqlite", clock, opening_cents)
    with ExitStack() as stack:
        stack.callback(state.close)
        url = stack.enter_context(serving(create_api(state)))

        def connect(key: str) -> Any:
            client = boto3.client(
                "mturk",
                endpoint_url=url,
                region_name="us-east-1",
                aws_access_key_id=key,
                aws_secret_access_key="nothing",
                config=Config(retries={"total_max_attempts": 1}, parameter_validation=False),
            )
            stack.callback(client.close)
            return client

        market = Market(state, clock, url, connect("AKIATEST"), connect)
        yield market
        market.check_books()
