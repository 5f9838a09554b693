"""Faults by the hundred: does a call that is cut short leave anything changed, or a file by halves?

    python benchmarks/faults.py                 # 200 points for each call, each write, 20 kills: half an hour
    python benchmarks/faults.py --points 20     # a few minutes
    python benchmarks/faults.py --only save sweep
    python benchmarks/faults.py --json out.json

At each point an interrupt, an exception or a lack of memory is put into a line of the package, of the model
or of the caller's functions; `tests/faults.py` says what that covers and what not. Afterwards the model and
its slim form, gradients, hooks, flags, data, random states, modes of torch, settings of the process, files,
threads and processes are compared bit by bit. Then the disk is full or read-only at each write in turn, and
a process is killed at random moments while it writes over an older version, which must still load.
"""

from __future__ import annotations

import argparse
import errno
import json
import random
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from tests.disks import OVER, Disk, Victim, largest_file
from tests.faults import CALLS, WRITING, Session, faults, session_in
from tests.fingerprint import differences

Row = dict[str, Any]
SIZES = (0, 1, 100, 1_000, 4_096)


def points(session: Session, name: str, n: int, seed: int) -> Row:
    """Put faults into one call; tell what became of them, and how often all was as before."""
    call, became, kept = {**CALLS, **WRITING}[name], Counter[str](), 0
    for fault in faults(call, session, n, seed):
        before = session.state()
        became[fault.during(call, session).partition(" as ")[0]] += 1
        half = session.half()
        session.emptied()
        kept += not half and not differences(before, session.state())
    return {"call": name, "tried": n, **became, "state kept": kept}


def writes(session: Session, name: str) -> Row:
    """Refuse each write of a call in turn, by two errors, and files above some sizes."""
    call = OVER[name]
    call(session)
    with (counted := Disk(session.target.parent)).used():
        call(session)
    rooms = [
        Disk(session.target.parent, number, error).used
        for error in (errno.ENOSPC, errno.EROFS)
        for number in range(1, counted.asked + 1)
    ]
    rooms += [lambda size=size: largest_file(size) for size in SIZES]
    refused = told = kept = 0
    for room in rooms:
        before, old = session.state(), contents(session.target)
        try:
            with room():
                call(session)
        except Exception as error:
            refused += 1
            told += isinstance(error, OSError) and ": cannot write " in str(error)
        else:
            continue  # small enough for the largest file
        same = contents(session.target) == old and not session.half()
        kept += same and not differences(before, session.state())
    session.emptied()
    return {"call": name, "tried": refused, "one sentence": told, "state kept": kept}


def contents(folder: Path) -> dict[Path, bytes]:
    """Return what the files of a folder hold."""
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def kills(session: Session, name: str, n: int, seed: int) -> Row:
    """Kill a process that writes over and over; see what is there, and what the next call leaves."""
    draw, at_work, old, clean = random.Random(seed), 0, 0, 0
    for _ in range(n):
        session.emptied()
        with tempfile.TemporaryDirectory() as place:
            at_work += Victim(Path(place), name).kill_after(draw.random() * (0.05 if name == "save" else 2.0))
            shutil.copytree(Path(place, "target"), session.target, dirs_exist_ok=True)
            for left in Path(place).glob(".*"):
                shutil.copytree(left, session.target.parent / left.name)
        there = list(session.target.glob("[!.]*"))
        old += bool(there) and all(found.startswith(".") for found in session.half())
        OVER[name](session)
        clean += session.half() == []
    session.emptied()
    return {"call": name, "tried": n, "at work": at_work, "old version whole": old, "clean after": clean}


def main() -> None:
    """Print one row for each call and kind of fault."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--points", type=int, default=200, help="faults put into each call")
    parser.add_argument("--kills", type=int, default=20, help="kills for each call that writes")
    parser.add_argument("--only", nargs="*", default=[*CALLS, *WRITING], help="calls by name")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder, session_in(Path(folder)) as session:
        for name in given.only:
            rows.append({"fault": "any line", **points(session, name, given.points, given.seed)})
            print(rows[-1], flush=True)
        for name in [name for name in given.only if name in OVER]:
            rows.append({"fault": "disk", **writes(session, name)})
            print(rows[-1], flush=True)
            rows.append({"fault": "kill -9", **kills(session, name, given.kills, given.seed)})
            print(rows[-1], flush=True)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
