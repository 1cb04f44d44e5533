"""Make docs/screenshot.png: drive the page of a running `limner try` in Debian's chromium and photograph it.

    make try                                                  # in another terminal; prints the page's address
    .venv/bin/python docs/screenshot.py --url http://127.0.0.1:8970 --out docs/screenshot.png

Does what a newcomer does: types /imagine, waits for the grid, presses the buttons that it is told to.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Locator, Page, expect, sync_playwright

FLAGS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync")
PROMPT = "a rocket at night"
# A picture may take long on a slow machine; the page itself answers at once.
DRAWING_MS = 180_000


def main() -> int:
    """Parse the arguments, take the picture; 1 when there is no chromium."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="the page's address, as `limner try` prints it")
    parser.add_argument("--out", type=Path, default=Path("docs/screenshot.png"), help="file to write")
    parser.add_argument("--prompt", default=PROMPT, help="what to draw")
    parser.add_argument("--press", nargs="*", default=[], help="buttons to press one after the other: U1-U4, V1-V4")
    parser.add_argument("--size", type=int, nargs=2, default=(1280, 860), metavar=("WIDTH", "HEIGHT"), help="in pixels")
    options = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        print("screenshot: no chromium found (Debian: apt install chromium)", file=sys.stderr)
        return 1
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        width, height = options.size
        page = browser.new_page(viewport={"width": width, "height": height})
        page.goto(options.url)
        take(page, options.prompt, options.press, options.out)
        browser.close()
    print(options.out)
    return 0


def take(page: Page, prompt: str, presses: list[str], out: Path) -> None:
    """Draw, press, and save what the page then shows."""
    expect(page.get_by_text("Limner is online")).to_be_visible(timeout=DRAWING_MS)
    page.wait_for_load_state("networkidle")  # older messages are there and will not be taken for the new one
    before = grids(page).count()
    page.locator("#composer-input").press_sequentially(f"/imagine prompt: {prompt}")
    page.keyboard.press("Enter")
    expect(grids(page)).to_have_count(before + 1, timeout=DRAWING_MS)
    for label in presses:
        source = grids(page).last
        answers = grids(page) if label.startswith("V") else singles(page)
        before = answers.count()
        source.get_by_role("button", name=label).click()
        expect(answers).to_have_count(before + 1, timeout=DRAWING_MS)
    page.locator(".picture img").last.evaluate("picture => picture.decode()")
    # Nothing hovered, nothing focused: the page at rest.
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur()")
    page.screenshot(path=out, animations="disabled")


def grids(page: Page) -> Locator:
    """Finished grids: messages with a V4 button."""
    return page.locator("#messages .message").filter(has=page.get_by_role("button", name="V4"))


def singles(page: Page) -> Locator:
    """Finished single pictures: "Image #2 ..."."""
    return page.locator("#messages .message").filter(has=page.locator(".picture")).filter(has_text="Image #")


if __name__ == "__main__":
    raise SystemExit(main())
