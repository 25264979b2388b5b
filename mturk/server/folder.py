"""A panel's folder: its state and its key."""

from pathlib import Path

from mturk.server.state import OPENING_CENTS, State, open_state
from study.errors import InputError
from study.tokens import key_of_folder

STATE = "panel.sqlite"


def open_panel(folder: Path, opening_cents: int = OPENING_CENTS, make: bool = True) -> tuple[State, str]:
    """The state and the key in `folder`, made if absent. Raises InputError where the folder is of something else."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file, not the folder of a panel; name another one")
    if not (folder / STATE).exists():
        if folder.exists() and any(folder.iterdir()):
            raise InputError(f"{folder}: not a panel (no {STATE}), and not empty; name another folder, or a new one")
        if not make:
            raise InputError(f"{folder}: no panel there (no {STATE}); check the path")
    state = open_state(folder / STATE, opening_cents=opening_cents)
    try:
        return state, key_of_folder(folder)
    except BaseException:
        state.close()
        raise
