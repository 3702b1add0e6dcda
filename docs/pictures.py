"""Make the README's pictures from a report: `python docs/pictures.py [report/index.html]`.

Writes docs/pictures/report-{light,dark,phone,training}.png with a headless Chromium (`apt-get install
chromium`, or the path in CHROMIUM), each with the verdict of its run as description. Run after `dvc repro`.
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

HERE = Path(__file__).resolve().parent
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking")
# Name of the picture: colour scheme, size in CSS pixels, pixels per CSS pixel, and the keys pressed first.
# a: the answers; d: where the systems disagree; t: the training data.
PICTURES: dict[str, tuple[str, tuple[int, int], float, str]] = {
    "light": ("light", (1280, 900), 1.0, ""),
    "dark": ("dark", (1280, 900), 1.0, "ad"),
    "phone": ("light", (390, 844), 1.5, "ad"),
    "training": ("light", (1280, 900), 1.0, "t"),
}


def chromium() -> str:
    """The browser's path. Raises SystemExit where there is none."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if not found:
        raise SystemExit("error: no Chromium; install it, or name its path in CHROMIUM")
    return found


def take(browser: Any, page: str, out: Path, look: tuple[str, tuple[int, int], float, str]) -> None:
    """One picture of `page`, a file: address."""
    scheme, (width, height), scale, keys = look
    size = {"width": width, "height": height}
    context = browser.new_context(color_scheme=scheme, viewport=size, device_scale_factor=scale)
    context.set_default_timeout(180_000)  # milliseconds, for a machine that is at work
    tab = context.new_page()
    tab.goto(page)
    for key in keys:
        tab.keyboard.press(key)
    tab.wait_for_timeout(300)
    tab.screenshot(path=out)
    about = PngInfo()
    about.add_text("Description", tab.text_content("[data-against].chosen h1"))
    context.close()
    with Image.open(out) as image:
        image.save(out, pnginfo=about, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("report", nargs="?", type=Path, default=Path("report/index.html"))
    parser.add_argument("--out", type=Path, default=HERE / "pictures")
    arguments = parser.parse_args()
    if not arguments.report.is_file():
        raise SystemExit(f"error: {arguments.report}: not found; run `dvc repro`, which writes it")
    from playwright.sync_api import sync_playwright

    arguments.out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium(), args=list(ARGUMENTS))
        for name, look in PICTURES.items():
            out = arguments.out / f"report-{name}.png"
            take(browser, arguments.report.resolve().as_uri(), out, look)
            print(f"{out}: {out.stat().st_size // 1000} kB")
        browser.close()


if __name__ == "__main__":
    main()
