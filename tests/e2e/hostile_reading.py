"""What a guarded child does with many hostile files, one after another; and the peak of its memory after each."""

from importlib import import_module
from pathlib import Path

from radproof.errors import BadInput


def peak():
    """Bytes resident at most, of this process so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def each(jobs):
    """Of [name, "module:function", arguments, ...]: the outcome of each, in words, and the peak behind it."""
    told = {}
    for name, reader, *arguments in jobs:
        module, _, function = reader.partition(":")
        given = [Path(one) if str(one).startswith("/") else one for one in arguments]
        try:
            getattr(import_module(module), function)(*given)
            answer = "fine"
        except BadInput as error:
            answer = f"{type(error).__name__}: {error}"
        told[name] = [answer, peak()]
    return told


def volume(path):
    """The first slice of a NIfTI file."""
    from radproof.data.volumes import Volumes, read_grid

    Volumes().plane(path, read_grid(path), 2, 0, "minmax")
