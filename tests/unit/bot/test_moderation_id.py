"""The custom_ids of moderators' buttons: what goes in comes out, and nothing else is read."""

from __future__ import annotations

import pytest

from bot.components.custom_id import is_ours
from bot.components.moderation_id import (
    AUDIT,
    BLOCKLIST,
    REPORT,
    audit_id,
    blocklist_id,
    is_moderators,
    read,
    report_id,
)


def test_parts_come_back() -> None:
    report = read(REPORT, report_id("ban", 12))
    assert (report["decision"], report["report"]) == ("ban", "12")
    assert read(BLOCKLIST, blocklist_id(0))["page"] == "0"
    audit = read(AUDIT, audit_id(999, 2**63 - 1))
    assert (audit["page"], audit["member"]) == ("999", str(2**63 - 1))
    assert read(AUDIT, audit_id(3, None))["member"] == "0"


@pytest.mark.parametrize(
    "forged",
    [
        "report:ban:0",
        "report:ban:01",
        "report:ban:-1",
        "report:ban:1 ",
        "report:pardon:1",
        "report:ban:" + "9" * 19,
        "report:ban:١",
        "xreport:ban:1",
        "blocklist:1000",
        "blocklist:-1",
        "audit:1",
        "audit:1:x",
        "audit:1:1:1",
    ],
)
def test_forged_ids_are_not_read(forged: str) -> None:
    assert not is_moderators(forged)
    for pattern in (REPORT, BLOCKLIST, AUDIT):
        with pytest.raises(ValueError, match="no button"):
            read(pattern, forged)


def test_what_does_not_fit_is_not_made() -> None:
    for make in (lambda: report_id("pardon", 1), lambda: blocklist_id(1000), lambda: audit_id(-1, None)):
        with pytest.raises(ValueError, match="no button"):
            make()


def test_moderators_ids_are_no_jobs_ids() -> None:
    for custom_id in (report_id("delete", 1), blocklist_id(1), audit_id(1, 5)):
        assert is_moderators(custom_id)
        assert not is_ours(custom_id)
        assert len(custom_id) <= 100
