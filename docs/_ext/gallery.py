"""Write the report of every embedded model into a folder: python docs/_ext/gallery.py FOLDER.

With a chromium on PATH each report gets a picture of its top as well.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import icl_interp as icl


def main(folder: Path) -> None:
    """Make what is missing; delete a report to have it made again."""
    folder.mkdir(parents=True, exist_ok=True)
    browser = shutil.which("chromium")
    for name in icl.demo_models():
        report = (folder / f"{name}.html").resolve()
        picture = report.with_suffix(".png")
        if not report.exists():
            command = [sys.executable, "-c", "from icl_interp.cli.probe import main; main()", f"demo:{name}"]
            subprocess.run([*command, "--out", report], check=True)
        if browser and not picture.exists():
            options = ["--headless", "--no-sandbox", "--hide-scrollbars", "--window-size=1400,900"]
            subprocess.run(
                [browser, *options, f"--screenshot={picture}", report.as_uri()], capture_output=True, check=True
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
