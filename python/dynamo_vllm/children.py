"""Child processes must not outlive the host: a GPU held by an orphan costs the next start."""

from __future__ import annotations

import multiprocessing
import multiprocessing.spawn as spawn
import os
import sys
from multiprocessing import resource_tracker, util
from typing import Any, Sequence

#: What replaces a child's standard error: the host's pipe, whose reader never stops. Its standard output is the host's already.
_ERRORS = """
_o.dup2({errors}, 2)
_o.close({errors})
"""

#: How much sooner than the host the kernel chooses a child when memory is short, in thousandths of what there is (proc(5), oom_score_adj).
#: Without the engine the host still ends every request with an error that frontends understand; without the host nobody says anything.
_SOONER = 300

#: Runs first in each spawned child. The kernel then kills it when this process dies, also by SIGKILL; the parent check closes the race
#: between the spawn and the call. SIGKILL, because a child that hangs in a GPU call ignores anything less. A process group of its own keeps
#: a terminal's Ctrl-C, and whatever else signals our group, from stopping the engine before the host has drained. Not a session of its own:
#: the kernel schedules by session (kernel.sched_autogroup_enabled), and on two busy cores this process would then wait up to seconds for
#: its turn, beside an engine that has half of the machine for itself.
_GUARD = """
import ctypes as _c, os as _o
{errors}
_o.setpgid(0, 0)
_c.CDLL(None).prctl(1, 9, 0, 0, 0)
_o.getppid() == {parent} or _o._exit(1)
try:
    with open("/proc/self/oom_score_adj", "r+") as _f:
        _score = int(_f.read())
        _f.seek(0)
        _f.write(str(min(1000, _score + {sooner})))
except OSError:
    pass  # a system that hides it kills whom it likes
from multiprocessing.spawn import spawn_main
spawn_main({arguments})
"""


def guard(errors: int | None) -> None:
    """Makes every process that multiprocessing spawns from here die with this one, and write its errors to the given descriptor."""
    multiprocessing.set_executable(sys.executable)
    if errors is not None:
        _share(errors)

    def command_line(**arguments: Any) -> list[str]:
        text = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        redirect = "" if errors is None else _ERRORS.format(errors=errors)
        program = _GUARD.format(errors=redirect, parent=os.getpid(), sooner=_SOONER, arguments=text)
        return [spawn.get_executable(), "-c", program, "--multiprocessing-fork"]

    spawn.get_command_line = command_line


def _share(descriptor: int) -> None:
    """Spawned children keep this descriptor, under its number."""
    spawn_process = util.spawnv_passfds

    def spawnv_passfds(path: bytes, args: Sequence[Any], passfds: Sequence[int]) -> int:
        return spawn_process(path, args, list({*passfds, descriptor}))  # the resource tracker is given stderr anyway

    util.spawnv_passfds = spawnv_passfds


def release_tracker() -> None:
    """Lets multiprocessing's resource tracker end: it removes what is left in shared memory once nobody holds its pipe.

    The interpreter is never finalised, so nobody else would close our end. Does not wait: a child that still lives holds the pipe, too.
    """
    tracker: Any = resource_tracker._resource_tracker
    descriptor: int | None = getattr(tracker, "_fd", None)
    if descriptor is not None:
        tracker._fd = None
        os.close(descriptor)
