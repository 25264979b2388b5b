"""Who calls an operation, and when: what every operation of the API is given besides its request."""

import sqlite3
from dataclasses import dataclass

from mturk.server.refusals import RequestError

DAY = 24 * 3600 * 1000
TOKEN_LIVES = DAY


@dataclass(frozen=True)
class Caller:
    """One call: its transaction, the requester (an access key id), the time in milliseconds, the request's id."""

    connection: sqlite3.Connection
    requester: str
    now: int
    request_id: str

    def token_made(self, kind: str, token: str | None) -> str | None:
        """What an earlier request with this UniqueRequestToken made; None where there was none in 24 hours."""
        if token is None:
            return None
        row = self.connection.execute(
            "SELECT made FROM request_tokens WHERE requester = ? AND kind = ? AND token = ? AND at > ?",
            (self.requester, kind, token, self.now - TOKEN_LIVES),
        ).fetchone()
        return None if row is None else str(row["made"])

    def keep_token(self, kind: str, token: str | None, made: str) -> None:
        """Remember what the request with this token made."""
        if token is not None:
            self.connection.execute(
                "INSERT OR REPLACE INTO request_tokens (requester, kind, token, at, made) VALUES (?, ?, ?, ?, ?)",
                (self.requester, kind, token, self.now, made),
            )

    def refuse_repeated(self, kind: str, token: str | None) -> None:
        """Raise RequestError where a request with this token was carried out already."""
        made = self.token_made(kind, token)
        if made is not None:
            raise RequestError(
                "DuplicateRequest",
                f'The idempotency token "{token}" has already been processed. The request ID was {made}.',
            )


def seconds(at: int) -> int:
    """A time of the state as the API gives it: whole seconds since 1970."""
    return at // 1000
