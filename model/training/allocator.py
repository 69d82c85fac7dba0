"""The C library's memory allocator, told to keep what a training step frees for the next one."""

import ctypes
from typing import Final

# Of glibc's mallopt(3).
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
#: The largest that glibc takes for M_MMAP_THRESHOLD on 64 bits. Larger tensors still come from the system each time.
_LARGEST_MMAP_THRESHOLD: Final = 32 << 20
_NEVER: Final = (1 << 31) - 1


def keep_freed_memory() -> None:
    """Let glibc hold freed memory instead of giving it back to the system, for the rest of the process.

    A step frees and asks again for the same few hundred tensors. By default glibc gives the top of its heap back each
    time, and the system maps thousands of fresh, zeroed pages a step, which takes up to a tenth of its time. What is
    held is at most what the process once needed. Does nothing where the C library is another one.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        library.mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        library.mallopt(_M_TRIM_THRESHOLD, _NEVER)
