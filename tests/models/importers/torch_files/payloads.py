"""Files that run code when they are opened trustingly; each is first seen to do so, in a process to be thrown away."""

import io
import pickle
import subprocess
import sys
import tarfile
import zipfile


class Payload:
    """Unpickled, it leaves a mark beside itself."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return exec, (f"open({self.mark!r}, 'w').write('ran')",)


def ran(jobs):
    """Of (code, file, mark): which codes, given their file, leave their mark. All in one process to be thrown away."""
    body = "".join(
        f"sys.argv[1] = {str(path)!r}\ntry:\n    exec({code!r})\nexcept BaseException:\n    pass\n"
        for code, path, _ in jobs
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", f"import sys\n{body}", ""], capture_output=True, timeout=300)
    marks = [mark.exists() for _, _, mark in jobs]
    for _, _, mark in jobs:
        mark.unlink(missing_ok=True)
    return marks


def zipped(path, entries, **how):
    """A zip archive of names and bytes."""
    with zipfile.ZipFile(path, "w", **how) as archive:
        for name, value in entries.items():
            archive.writestr(name, value)
    return path


def changed(path, change):
    """A zip archive again, its entries changed in place by `change`."""
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    change(entries)
    return zipped(path, entries)


def tarred(path, entries):
    """A tar archive of names and bytes."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, value in entries.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(value)
            archive.addfile(entry, io.BytesIO(value))
    return path


def pickled(value):
    return pickle.dumps(value, protocol=2)
