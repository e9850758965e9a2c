"""What to say about an error."""

from __future__ import annotations

from traceback import walk_tb

from google.auth.exceptions import GoogleAuthError

FAULT_LOG_SECONDS = 60.0  # a log line about one kind of fault at most this often: every message may cause one


def words(error: object) -> str:
    """What an error says, in one line; its type if that is nothing."""
    # Some carry the error behind theirs as a second argument.
    said = (error.args or (error,))[0] if isinstance(error, GoogleAuthError) else error
    return " ".join(str(said).split()) or type(error).__name__


def fault(error: BaseException) -> str:
    """Of one that nobody foresaw: its type, and where it was raised, in our code and in the library that that called.

    Not its text, which may quote a stranger's input without bound.
    """
    places = [(str(frame.f_globals.get("__name__")), line) for frame, line in walk_tb(error.__traceback__)]
    ours = [place for place in places if place[0].partition(".")[0] == "services"]
    shown = dict.fromkeys([*ours[-1:], *places[-1:]])
    return " at ".join([type(error).__name__, *(f"{name}:{line}" for name, line in shown)])
