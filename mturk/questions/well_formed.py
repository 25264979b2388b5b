"""What a question's XML may hold: XML 1.0's characters, and not more bytes than MTurk takes."""

import re

from study.errors import InputError

MOST_BYTES = 65_535  # of a Question, as MTurk's API reference has it

# All but Char of XML 1.0 (2.2). No escape brings these into a document either.
ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def check_characters(text: str, what: str) -> None:
    """Raise InputError where `text` holds a character that XML 1.0 cannot; `what` it is begins the message."""
    wrong = ILLEGAL.search(text)
    if wrong:
        line = text.count("\n", 0, wrong.start()) + 1
        raise InputError(
            f"{what}: U+{ord(wrong.group()):04X} in line {line} (character {wrong.start() + 1}) cannot stand in XML,"
            " in which MTurk takes it; take it out"
        )


def check_size(xml: str, what: str, way_out: str) -> str:
    """The same XML; raises InputError where it has more bytes than MTurk takes."""
    size = len(xml.encode())
    if size > MOST_BYTES:
        raise InputError(f"{what}: {size:,} bytes as XML, and MTurk takes at most {MOST_BYTES:,}; {way_out}")
    return xml


def check_height(frame_height: int) -> None:
    """Raise InputError where the frame's height is no whole number of pixels from 0 on."""
    if isinstance(frame_height, bool) or not isinstance(frame_height, int) or not 0 <= frame_height <= 20_000:
        raise InputError(f"frame_height = {frame_height!r}: whole CSS pixels from 0 (the window's) to 20000")
