"""kill -9 in the middle of six jobs, then start again: each is delivered once, old buttons work, the books balance."""

from __future__ import annotations

import pytest

from tests.acceptance.actors import BotProcess, books_balance

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_nothing_is_lost_or_doubled_by_kill_9(sandbox_server, http, tmp_path, ada, bea) -> None:
    process = BotProcess(sandbox_server, tmp_path / "data")
    await process.start(http)
    await ada.command("imagine", prompt="an old boat")
    old = await ada.result("(fast)", text="old boat")
    prompts = [f"a red balloon number {n} --steps 30" for n in range(3)]
    for person in (ada, bea):
        for prompt in prompts:
            assert (await person.command("imagine", prompt=prompt))["state"] == "answered"
    await ada.until(lambda messages: any("%)" in m["content"] for m in messages))
    await process.kill()

    await process.start(http)

    def results(messages: list[dict[str, object]]) -> list[str]:
        done = [str(m["content"]).split("\n")[0] for m in messages if m["attachments"]]
        return sorted(line for line in done if "balloon" in line and "%)" not in line)

    expected = sorted(f"**{prompt}** - <@{person.user}> (fast)" for person in (ada, bea) for prompt in prompts)
    await ada.until(lambda messages: results(messages) == expected)
    await ada.press(old, "U4")
    await ada.result(f"Image #4 <@{ada.user}>", after=old["id"], text="old boat")
    leftovers = [m["content"] for m in await ada.messages() if "%)" in m["content"] or "Waiting" in m["content"]]
    assert leftovers == []
    assert results(await ada.messages()) == expected
    # 7 grids: the balloons cost ceil(4 * 30 / 12) = 10 each, the boat 4.
    assert (await ada.credits(), await bea.credits()) == (66, 70)
    await process.kill()
    await books_balance(process.data_dir)
    assert sandbox_server.violations == []
