"""Errors of the operating system as sentences that say what is wrong and what to change."""

import errno
import os
import re
import sys

# By errno. {it} is the file that the error names, or "a file".
MESSAGES = {
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
OUT_OF_MEMORY = (
    "there is not enough memory; lower train.batch, data.resolution or the widths in params.yaml, "
    "or end other programs, and run again"
)
# torch has an exception type only for GPU memory; its CPU allocator and cuDNN use these words.
OUT_OF_MEMORY_PATTERN = re.compile(r"out of memory|not enough memory|can't allocate memory|ALLOC_FAILED", re.IGNORECASE)


def explain_system_error(error: Exception) -> str | None:
    """Explain an OSError, MemoryError or torch's out-of-memory error; None for any other error, which is a bug."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return OUT_OF_MEMORY
    if isinstance(error, RuntimeError) and OUT_OF_MEMORY_PATTERN.search(str(error)):
        return OUT_OF_MEMORY
    if not isinstance(error, OSError) or error.errno is None:
        return None
    message = MESSAGES.get(error.errno, "the system refuses {it}; check its folder and its disk, and run again")
    return f"{message.format(it=_file_names(error))} ({os.strerror(error.errno)})"


def _file_names(error: OSError) -> str:
    """Return the file or files that an error names."""
    names = [name for name in (error.filename, error.filename2) if isinstance(name, str | bytes | os.PathLike)]
    return " -> ".join(os.fsdecode(name) for name in names) or "a file"


def prepare_streams() -> None:
    """Make the standard streams safe to use, whatever the process was started with.

    Closed streams are opened on the null device, because the next opened file would take their descriptor and receive
    what libraries print. Characters outside the terminal's encoding are escaped.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115  # for the life of the process
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
