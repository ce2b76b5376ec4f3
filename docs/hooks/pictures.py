"""The pictures of the documentation, made of a real run of the README's job by `make docs-pictures`.

The job runs on the scripted provider and the embedded stack. `terminal.svg` is what `submit` and `watch`
draw when most of the rows are answered; `report.png` is the top of its report, as Chromium shows it.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console, RenderableType

from cascade_batch.cli.progress import moving
from cascade_batch.client.looking import is_over, looker
from cascade_batch.client.pace import Pace
from cascade_batch.client.services import services
from cascade_batch.providers.scripted import spawn_provider
from tests.documents import ROOT, blocks, command_lines

README = ROOT / "README.md"
PLACE = ROOT / "docs" / "assets"
ROWS = [{"headline": f"Headline {n}: gold moves after the news"} for n in range(1, 1001)]
_ADDRESS = "http://127.0.0.1:8099/v1"
_COLUMNS = 84
_REPORT_PX = (1000, 1430)
_COLOURS = 256
_LOOK_EVERY_S = 0.05
_SHARE = 0.7
"""Of the rows."""
# Fonts would be loaded from elsewhere.
_SVG = re.sub(r"@font-face \{\{.*?\}\}\n", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL).replace(
    "Fira Code, monospace", "monospace"
)


def main() -> None:
    """Run the job, and draw."""
    name = "headlines"
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        files = {block.title: block.body for block in blocks(README) if block.title}
        (here / "provider.yaml").write_text(files["provider.yaml"], "utf-8")
        (here / "data.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in ROWS), "utf-8")
        with spawn_provider(here / "provider.yaml") as provider:
            (here / "tiers.yaml").write_text(
                files["tiers.yaml"].replace(_ADDRESS, provider.url), "utf-8"
            )
            arguments = next(given for _, given in command_lines(README) if name in given)
            _cascade_batch(here, *arguments, "--no-cache", "--detach")
            picture = _on_the_way(name)
        (PLACE / "terminal.svg").write_text(_svg(picture), "utf-8")
        _cascade_batch(here, "report", name, "-o", "report.html")
        _screenshot(here / "report.html", here / "report.png")
        with Image.open(here / "report.png") as shot:
            few = shot.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
            few.save(PLACE / "report.png", optimize=True)


def _cascade_batch(folder: Path, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "cascade_batch", *arguments], cwd=folder, check=True)


def _on_the_way(name: str) -> RenderableType:
    """The live display when most rows were answered; returns when the job is over."""
    console, pace = _console(), Pace()
    seen: list[tuple[float, RenderableType]] = []
    with services() as service:
        is_running = True
        while is_running:
            sight = looker(service, name)()  # one that looked before may save itself a part
            pace.note(sight.status, time.monotonic())
            share = sight.status["rows"]["answered"] / len(ROWS)
            seen.append((abs(share - _SHARE), moving(sight, pace, console)))
            is_running = not is_over(sight.status)
            time.sleep(_LOOK_EVERY_S)
    return min(seen, key=lambda one: one[0])[1]


def _console() -> Console:
    return Console(
        file=io.StringIO(), width=_COLUMNS, record=True, force_terminal=True, color_system="truecolor",
        highlight=False, markup=False, legacy_windows=False, _environ={},
    )  # fmt: skip


def _svg(picture: RenderableType) -> str:
    console = _console()
    console.print(picture)
    text = console.export_svg(
        title="cascade-batch watch headlines", code_format=_SVG, unique_id="terminal"
    )
    # Bars without seams, whatever the font.
    text = text.replace(" textLength=", ' lengthAdjust="spacingAndGlyphs" textLength=')
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def _screenshot(page: Path, image: Path) -> None:
    with tempfile.TemporaryDirectory() as profile:
        width, height = _REPORT_PX
        subprocess.run(
            [
                "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                "--no-first-run", "--disable-background-networking", "--disable-component-update",
                "--disable-sync", f"--user-data-dir={profile}", f"--window-size={width},{height}",
                f"--screenshot={image}", page.as_uri(),
            ],
            check=True,
            capture_output=True,
        )  # fmt: skip


if __name__ == "__main__":
    main()
