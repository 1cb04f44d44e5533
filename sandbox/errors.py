"""Discord's error answers: status, JSON code, message and the `errors` tree of a refused form.

Owns the codes (API page "Opcodes and Status Codes") and the shape of a problem. Knows no route and no rule.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

THREAD_ARCHIVED = 50083
THREAD_LOCKED = 160005


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a payload: the rule's name, where in the payload, Discord's code, and a sentence."""

    rule: str
    path: tuple[str | int, ...]
    message: str
    code: str = "BASE_TYPE_INVALID"


class ApiError(Exception):
    """An error answer. With `problems` the request itself was broken, which is recorded as a violation."""

    def __init__(self, status: int, code: int, message: str, *, problems: Iterable[Problem] = ()) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.problems = tuple(problems)

    def body(self) -> Json:
        """The JSON answer."""
        body: Json = {"message": self.message, "code": self.code}
        if self.code == 50035:
            body["errors"] = errors_tree(self.problems)
        return body


def errors_tree(problems: Iterable[Problem]) -> Json:
    """Nest problems by path, each leaf `{"_errors": [{"code", "message"}]}`."""
    tree: Json = {}
    for problem in problems:
        node = tree
        for step in problem.path:
            node = node.setdefault(str(step), {})
        node.setdefault("_errors", []).append({"code": problem.code, "message": problem.message})
    return tree


def invalid_form(problems: Iterable[Problem]) -> ApiError:
    """400 / 50035 with the tree of what is wrong."""
    return ApiError(400, 50035, "Invalid Form Body", problems=problems)


def refuse(problems: list[Problem]) -> None:
    """Raise when anything is wrong; a message without content has a code of its own (50006)."""
    if not problems:
        return
    if all(problem.rule == "empty-message" for problem in problems):
        raise ApiError(400, 50006, "Cannot send an empty message", problems=problems)
    raise invalid_form(problems)


def unauthorized() -> ApiError:
    """401, as for a wrong bot token."""
    return ApiError(401, 0, "401: Unauthorized")


def not_found(what: str) -> ApiError:
    """404 for a route that Discord doesn't have."""
    return ApiError(404, 0, "404: Not Found", problems=[Problem("unknown-route", (), f"Discord has no {what}")])


def unknown_channel() -> ApiError:
    return ApiError(404, 10003, "Unknown Channel")


def unknown_guild() -> ApiError:
    return ApiError(404, 10004, "Unknown Guild")


def unknown_member() -> ApiError:
    return ApiError(404, 10007, "Unknown Member")


def unknown_message() -> ApiError:
    return ApiError(404, 10008, "Unknown Message")


def unknown_user() -> ApiError:
    return ApiError(404, 10013, "Unknown User")


def unknown_emoji() -> ApiError:
    return ApiError(400, 10014, "Unknown Emoji")


def unknown_webhook() -> ApiError:
    return ApiError(404, 10015, "Unknown Webhook")


def unknown_command() -> ApiError:
    return ApiError(404, 10063, "Unknown application command")


def missing_access() -> ApiError:
    return ApiError(403, 50001, "Missing Access")


def missing_permissions() -> ApiError:
    return ApiError(403, 50013, "Missing Permissions")


def cannot_edit_others() -> ApiError:
    return ApiError(403, 50005, "Cannot edit a message authored by another user")


def wrong_channel_type(detail: str) -> ApiError:
    """400 / 50024 for what this kind of channel doesn't have."""
    problems = [Problem("channel-type", (), detail)]
    return ApiError(400, 50024, "Cannot execute action on this channel type", problems=problems)


def system_message() -> ApiError:
    return ApiError(403, 50021, "Cannot execute action on a system message")


def thread_archived(status: int = 400) -> ApiError:
    """50083; bots report 403 for posting into one that is locked as well, 400 for everything else."""
    return ApiError(status, THREAD_ARCHIVED, "Thread is archived")


def thread_locked() -> ApiError:
    return ApiError(403, THREAD_LOCKED, "Thread is locked")


def not_in_sandbox(what: str) -> ApiError:
    """501 for what Discord has and the sandbox lacks."""
    message = f"The sandbox has no {what} yet"
    return ApiError(501, 0, message, problems=[Problem("not-in-sandbox", (), message)])


def token_expired() -> ApiError:
    """401 / 50027 once an interaction is older than 15 minutes."""
    return ApiError(401, 50027, "Invalid Webhook Token")


def unknown_interaction(detail: str | None = None) -> ApiError:
    """404 / 10062. With `detail` (the first answer came late) it counts as a violation."""
    problems = [Problem("late-answer", (), detail)] if detail else []
    return ApiError(404, 10062, "Unknown interaction", problems=problems)


def already_acknowledged() -> ApiError:
    """400 / 40060 for a second first answer."""
    detail = "this interaction already has its first answer: edit @original or send a followup"
    return ApiError(
        400, 40060, "Interaction has already been acknowledged.", problems=[Problem("double-answer", (), detail)]
    )


def too_large(detail: str) -> ApiError:
    """413 / 40005 for a file or a request over the limit."""
    return ApiError(413, 40005, "Request entity too large", problems=[Problem("file-size", (), detail)])
