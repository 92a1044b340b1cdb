"""Refusals of the operating system, each as a sentence for the person who can change it."""

import errno
import os
import re
import sys

# What went wrong and what to change, by error number. {it} is the file that the system named, or "a file".
SENTENCES = {
    errno.ENOSPC: "the disk is full: {it} could not be written; free some space there and run again",
    errno.EDQUOT: "your disk quota is used up: {it} could not be written; free some space and run again",
    errno.EFBIG: "{it} would be larger than its file system or `ulimit -f` allows; raise the limit or use another disk",
    errno.EROFS: "{it} is on a read-only file system; run in a checkout that can be written to",
    errno.EACCES: "you have no permission for {it}; change its owner or mode (chown, chmod), or that of its folder",
    errno.EPERM: "the system does not permit {it} to be changed; change its owner, mode or attributes (lsattr)",
    errno.ENAMETOOLONG: "the name of {it} is too long for its file system; shorten it",
    errno.ENOENT: "{it} does not exist, or no longer; if another program is changing its folder, end it and run again",
    errno.ENOTDIR: "{it} leads through a file where a folder is needed; move that file away or correct the path",
    errno.EISDIR: "{it} is a folder where a file is needed; move it away or correct the path",
    errno.ENOTEMPTY: "the folder {it} was being changed by another program; end that and run again",
    errno.EEXIST: "{it} exists already, as another kind of file; move it away and run again",
    errno.ELOOP: "{it} is a link that leads in a circle; point it at a file",
    errno.ETXTBSY: "{it} is in use by another program; end that and run again",
    errno.EBUSY: "{it} is in use by another program; end that and run again",
    errno.EIO: "the disk or terminal of {it} answers with an error; check it (dmesg), or move the checkout",
    errno.ESTALE: "{it} is on a network drive that was lost; mount it again and run again",
    errno.ENOTCONN: "{it} is on a network drive that was lost; mount it again and run again",
    errno.ETIMEDOUT: "{it} is on a network drive that does not answer; mount it again and run again",
    errno.ENOLCK: "{it} is on a file system without locks; move the checkout to a local disk",
    errno.EMFILE: "too many files are open; raise the limit (ulimit -n 4096) and run again",
    errno.ENFILE: "too many files are open on this machine; end other programs and run again",
    errno.EAGAIN: "the system has no room for another process or thread; end other programs or raise `ulimit -u`",
    errno.EPIPE: "what read the output has ended; run again without it, or write the output to a file",
    errno.ENXIO: "{it} is a pipe or a device, not a file; name a file",
}
NO_MEMORY = (
    "there is not enough memory; lower train.batch, data.resolution or the widths in params.yaml, "
    "or end other programs, and run again"
)
# torch tells a lack of memory by type on a GPU only; its CPU allocator and cuDNN by these words.
NO_MEMORY_WORDS = re.compile(r"out of memory|not enough memory|can't allocate memory|ALLOC_FAILED", re.IGNORECASE)


def sentence(error: Exception) -> str | None:
    """What to tell a person about an error of the operating system; None for an error that is a defect of Mint.

    Covers OSError, MemoryError and what torch raises where memory is short.
    """
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return NO_MEMORY
    if isinstance(error, RuntimeError) and NO_MEMORY_WORDS.search(str(error)):
        return NO_MEMORY
    if not isinstance(error, OSError) or error.errno is None:
        return None
    known = SENTENCES.get(error.errno, "the system refuses {it}; check its folder and its disk, and run again")
    return f"{known.format(it=_named(error))} ({os.strerror(error.errno)})"


def _named(error: OSError) -> str:
    """The file or files that an error names."""
    names = [name for name in (error.filename, error.filename2) if isinstance(name, str | bytes | os.PathLike)]
    return " -> ".join(os.fsdecode(name) for name in names) or "a file"


def ready_streams() -> None:
    """Makes standard input and output safe to use, whatever this process was started with.

    A stream that was closed is the null device, or the next file that is opened would take its number and get what
    libraries print. What the terminal's encoding lacks is printed as an escape.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115  # for the life of the process
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
