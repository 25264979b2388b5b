"""What a page says to whoever leaves the study, and how their recruiter learns of it, as values of `message.html`."""

from typing import Any

from study.recruiting_settings import Recruiting
from study.recruits import Arrival, Outcome, completion_code
from study.tokens import sign

PROLIFIC = "https://app.prolific.com/submissions/complete?cc="

PRESS = "If nothing happens, press the button."

RETURN = {
    "mturk": "Please return this HIT, so that somebody else can take it. That does not change your approval rate.",
    "prolific": "Please return your submission on Prolific, so that somebody else can take your place.",
    "link": "",
}

# Of a second task the page cannot know whether the first one was handed in: time runs out, connections break.
NOT_HANDED_IN = {
    "mturk": "If you could not submit the HIT in which you finished, please write to the requester: your answers are"
    " stored with your worker ID.",
    "prolific": "If you could not hand in the submission in which you finished, please write to the researchers on"
    " Prolific: your answers are stored with your Prolific ID.",
    "link": "",
}

SAID = {
    "again": (
        "You took part already",
        "You took part as often as one person can, and your answers are stored. Thank you for coming again.",
    ),
    "screened out": (
        "The study ends here",
        "Thank you for trying. The practice answers show that these comparisons are hard to see for you, or on this"
        " screen. That says nothing about you: screens, light and eyes differ.",
    ),
    "full": (
        "All places are taken",
        "Others gave or are giving the last answers that this study needs. Thank you for coming.",
    ),
}


def turned_away(recruiting: Recruiting, arrival: Arrival | None, outcome: Outcome) -> dict[str, Any]:
    """The page for `again`, `screened out` and `full`: the recruiter's code where there is one, else what to do."""
    heading, text = SAID[outcome]
    codes = {"screened out": recruiting.prolific_screened_out, "full": recruiting.prolific_full}
    code = codes.get(outcome)
    if arrival is not None and arrival.channel == "prolific" and code:
        link = {"address": PROLIFIC + code, "label": "Go back to Prolific", "by_itself": False}
        return {"heading": heading, "text": [text, "Please go back to Prolific with this button."], "link": link}
    if arrival is None:
        return {"heading": heading, "text": [text]}
    more = NOT_HANDED_IN[arrival.channel] if outcome == "again" else ""
    return {"heading": heading, "text": [text, RETURN[arrival.channel], more]}


def finished(recruiting: Recruiting, arrival: Arrival, key: str, observer: str, thanks: list[str]) -> dict[str, Any]:
    """The page at the end of a session that has all its votes: it hands the task in, or shows a code that proves it."""
    page: dict[str, Any] = {"heading": "Done", "text": thanks}
    if arrival.channel == "mturk":
        # MTurk wants one field besides the assignment's id; this one proves that the session was finished.
        fields = {"assignmentId": arrival.task, "eyetune": sign(key, "done", observer)}
        return page | {
            "text": ["Thank you. Your answers are stored. The HIT is being submitted …", PRESS],
            "form": {"address": submit_address(arrival), "fields": fields, "label": "Submit the HIT"},
        }
    if arrival.channel == "prolific" and recruiting.prolific_completed:
        link = {"address": PROLIFIC + recruiting.prolific_completed, "label": "Go back to Prolific", "by_itself": True}
        return page | {
            "text": ["Thank you. Your answers are stored. You are being sent back to Prolific …", PRESS],
            "link": link,
        }
    if arrival.channel == "prolific":
        return page | {"text": [*thanks, "Please go back to Prolific and say there that you finished, without a code."]}
    return page | {
        "text": ["This code proves that you finished. Please keep it, and give it to whoever sent you the link:"],
        "code": completion_code(key, observer),
        "more": thanks,
    }


def submit_address(arrival: Arrival) -> str:
    """Where MTurk takes a finished assignment."""
    return f"{arrival.submit_to}/mturk/externalSubmit"
