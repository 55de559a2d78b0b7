"""A small file system that fills up, and a clock that is wrong, for other processes."""

import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

SIZE = 96 * 2**20
SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
static long shift(void) { const char *text = getenv("CLOCK_SHIFT"); return text ? atol(text) : 0; }
int clock_gettime(clockid_t which, struct timespec *out) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int code = real(which, out);
    if (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE) out->tv_sec += shift();
    return code;
}
int gettimeofday(struct timeval *restrict out, void *restrict zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    out->tv_sec = now.tv_sec;
    out->tv_usec = now.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
"""
"""Moves the clock that a process reads by `CLOCK_SHIFT` seconds; times of files stay those of the machine."""


def why_no_disk() -> str | None:
    """Return why no small file system can be mounted here; None where it can."""
    return "mounting a small file system needs root" if os.geteuid() != 0 else None


def why_no_clock() -> str | None:
    """Return why no process can be given another clock here; None where one can."""
    return None if shutil.which("cc") else "moving the clock of a process needs a C compiler (cc)"


class Disk:
    """A file system in memory of a few megabytes.

    Args:
        place: An empty folder, or none yet.
    """

    def __init__(self, place: Path) -> None:
        self.place, self._filler = place, place / "filler"

    def mount(self) -> None:
        """Make it."""
        self.place.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", self.place], check=True)

    def fill(self, spare: int) -> None:
        """Take all the space but so many bytes."""
        status = os.statvfs(self.place)
        # Somebody who writes at this moment may take what we were about to.
        with self._filler.open("wb") as file, suppress(OSError):
            os.posix_fallocate(file.fileno(), 0, max(4096, status.f_bavail * status.f_bsize - spare))

    def free(self) -> None:
        """Give the space back."""
        self._filler.unlink(missing_ok=True)

    def unmount(self) -> None:
        """Remove it, with all that is on it."""
        subprocess.run(["umount", "--lazy", self.place], check=True)


def shim(folder: Path) -> Path:
    """Return a library for `LD_PRELOAD` that moves the clock by `CLOCK_SHIFT` seconds."""
    source, library = folder / "clock.c", folder / "clock.so"
    if not library.exists():
        source.write_text(SHIM)
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library
