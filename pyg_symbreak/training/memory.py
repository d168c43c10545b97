"""The memory of a process that trains."""

from __future__ import annotations

import ctypes

__all__ = ["keep_freed_memory"]

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def keep_freed_memory() -> bool:
    """Let the C library keep what tensors free for the tensors of the next step, instead of giving it back each time.

    On Linux with glibc, for this process: ``mallopt`` with what ``MALLOC_MMAP_MAX_=0`` and ``MALLOC_TRIM_THRESHOLD_``
    say in the environment. A step then takes hardly any page faults and a tenth less time
    (``benchmarks/training_options.py``), and the process its largest size throughout.

    Returns
    -------
    bool
        Whether there is such a setting here.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library
        return False
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
