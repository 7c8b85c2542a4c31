"""Run commands beside each other: python .ci/beside.py "make one" "make two".

The output of the first is shown as it comes, that of each other in one piece once those before it are over. The exit
code is 1 if any of them failed; the last lines say which.
"""

import subprocess
import sys
import tempfile
import time
from threading import Thread


class Part(Thread):
    """A command that runs; its output goes to the terminal, or into a file to be shown later."""

    def __init__(self, command: str, *, shown: bool) -> None:
        super().__init__()
        self.command, self.output = command, None if shown else tempfile.TemporaryFile()
        self.started = self.ended = time.monotonic()
        self.process = subprocess.Popen(
            command, shell=True, stdin=subprocess.DEVNULL, stdout=self.output, stderr=self.output
        )
        self.start()

    def run(self) -> None:
        self.process.wait()
        self.ended = time.monotonic()

    def show(self) -> None:
        if self.output is not None:
            self.output.seek(0)
            print(f"\n===== {self.command}", flush=True)
            sys.stdout.buffer.write(self.output.read())
            sys.stdout.flush()

    def __str__(self) -> str:
        code = self.process.returncode
        return f"{'passed' if code == 0 else f'FAILED ({code})'} in {self.ended - self.started:.0f} s: {self.command}"


def main(commands: list[str]) -> int:
    parts = [Part(command, shown=i == 0) for i, command in enumerate(commands)]
    for part in parts:
        part.join()
        part.show()
    print("", *parts, sep="\n", flush=True)
    return int(any(part.process.returncode != 0 for part in parts))


if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
    except KeyboardInterrupt:  # the terminal has told the commands as well
        code = 130
    raise SystemExit(code)
