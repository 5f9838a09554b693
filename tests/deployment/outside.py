"""What a process and its children send to other machines, as a preloaded library notes it."""

import os
import subprocess
from pathlib import Path


class Outside:
    """The library, built in a folder, and the notes of those that are started with its environment."""

    def __init__(self, folder):
        self.library, self.log = Path(folder, "outside.so"), Path(folder, "outside.log")
        source = Path(__file__).with_name("outside.c")
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", self.library, source, "-ldl"], check=True)
        self.environment = {"LD_PRELOAD": str(self.library), "OUTSIDE_LOG": str(self.log)}

    def notes(self, word):
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line.removeprefix(f"{word} ") for line in lines if line.startswith(f"{word} ")]

    @property
    def watched(self):
        """The programs that took the library along."""
        return {os.path.basename(path) for path in self.notes("in")}

    @property
    def sent(self):
        """Addresses and names outside this machine, with the call that meant them."""
        return self.notes("out")
