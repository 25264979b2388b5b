"""The errors that the Requester API answers with, in MTurk's words.

Codes and words are those of AWS's reference ("Common errors" and each operation's) and of messages that users reported.
MTurk ends a message with the time in milliseconds; here the error's code stands there.
"""


class RequestError(Exception):
    """A request that MTurk refuses; status 400."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code if code.startswith("AWS.") else f"AWS.MechanicalTurk.{code}"
        self.message = f"{message} ({self.code})"


def out_of_range(name: str, value: object, least: object, most: object) -> RequestError:
    """For a number, or a text's length, beyond its bounds."""
    return RequestError(
        "AWS.ParameterOutOfRange",
        f"The value {value!r} is invalid for {name}. The value should be between {least} and {most}.",
    )


def does_not_exist(kind: str, given: str) -> RequestError:
    """For an id that names nothing here; `kind` is HIT, Assignment, HITType, QualificationType and so on."""
    return RequestError(f"{kind}DoesNotExist", f"{_spoken(kind)} {given} does not exist.")


def invalid_state(kind: str, found: str, allowed: str) -> RequestError:
    """For an operation that does not fit the state of a HIT, an assignment, a qualification and so on."""
    return RequestError(
        f"Invalid{kind}State",
        f"This {_spoken(kind)} is currently in the state '{found}'."
        f" This operation can be called with a status of: {allowed}",
    )


def insufficient_funds() -> RequestError:
    """For a requester whose balance does not cover rewards and fees."""
    return RequestError(
        "InsufficientFunds", "This Requester has insufficient funds in their account to complete this transaction."
    )


def _spoken(kind: str) -> str:
    return {"HITType": "HIT type", "QualificationType": "Qualification type"}.get(
        kind, kind.replace("QualificationRequest", "Qualification request")
    )
