"""What a stranger's model may try, as functions for a guarded child and for a plain one; standard library only."""

import builtins
import ctypes
import json
import os
import resource
import signal
import socket
import sys
import time
from pathlib import Path


def echo(**given):
    return given


def told(progress, steps):
    progress.start("cells", steps)
    for _ in range(steps):
        progress.advance("cells")
    progress.note("half\x1b[31m way\n")
    progress.advance("cells", 0.5)
    return "done"


def raises(name, message="what went wrong"):
    from radproof import errors

    raise getattr(errors, name)(message)


def tells(progress, stage, amount, times=1):
    """Words past the child's own reporter, as a stranger's code would write them."""
    for number in range(times):
        progress.tell("start", [f"s{number}", 1])
    progress.tell("advance", [stage, amount])
    return "told"


def raises_own():
    from radproof.errors import BadImage

    class Cracked(BadImage):
        pass

    raise Cracked("cracked")


def breaks(name, message):
    raise getattr(builtins, name)(message)


def nested():
    here = []
    for _ in range(100_000):
        here = [here]
    return here


def no_json(what):
    return {"set": {1}, "nan": float("nan"), "bytes": b"x", "object": object()}[what]


def leaves(code):
    os._exit(code)


def crashes():
    ctypes.string_at(1)


def writes(path, text="planted"):
    Path(path).write_text(text)
    return True


def changes_rights(path):
    os.chmod(path, 0o777)
    return True


def deletes(path):
    os.unlink(path)
    return True


def links(path, target):
    os.symlink(target, path)
    return True


def hard_links(path, target):
    os.link(target, path)
    return True


def moves(path, target):
    os.rename(target, path)
    return True


def reads(path):
    return Path(path).read_bytes().decode(errors="replace")


def environment():
    return dict(os.environ)


def knows(pid):
    """What /proc tells of another process."""
    return len(Path(f"/proc/{pid}/cmdline").read_bytes())


def connects(family, address):
    """Sends a word to a listening socket."""
    kind = socket.SOCK_DGRAM if family == "udp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_UNIX if family == "unix" else socket.AF_INET, kind) as stream:
        stream.settimeout(5)
        stream.connect(tuple(address) if isinstance(address, list) else address)
        stream.sendall(b"hello")
    return True


def listens():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def asks_for_a_name(name):
    return len(socket.getaddrinfo(name, 80))


def sends_from_a_pair(address):
    one, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    one.sendto(b"hello", address)
    return True


def kills(pid):
    os.kill(pid, signal.SIGKILL)
    return True


def kills_its_parent(progress=None):
    os.kill(os.getppid(), signal.SIGKILL)
    return True


def sleeps(progress=None, seconds=3600.0):
    if progress:
        progress.note(os.environ["HOME"])
    time.sleep(seconds)
    return True


def spins(seconds=3600.0):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
    return True


def forks(count, progress=None, away=False, seconds=3600.0):
    """Children that stay; with `away`, each in a session of its own and orphaned."""
    if progress:
        progress.note(os.environ["HOME"])
    for _ in range(count):
        if os.fork() == 0:
            if away:
                os.setsid()
                if os.fork():
                    os._exit(0)
            time.sleep(seconds)
            os._exit(0)
    time.sleep(0.0 if seconds < 60 else seconds)
    return True


def threads(count):
    import threading

    for _ in range(count):
        threading.Thread(target=time.sleep, args=(1,), daemon=True).start()
    time.sleep(0.5)
    return True


def allocates(megabytes, progress=None):
    kept = []
    for done in range(0, megabytes, 10):
        kept.append(b"x" * 10_000_000)
        if progress:
            progress.note(str(done + 10))
    return len(kept)


def allocates_together(count, megabytes):
    """Each of several processes takes its own memory."""
    for _ in range(count):
        if os.fork() == 0:
            kept = b"x" * (megabytes * 1_000_000)
            time.sleep(10)
            os._exit(len(kept) % 1)
    for _ in range(count):
        os.wait()
    return True


def shares_memory(count, megabytes):
    """Several processes look at the same memory."""
    import mmap

    kept = mmap.mmap(-1, megabytes * 1_000_000)
    for _ in range(megabytes):
        kept.write(b"x" * 1_000_000)
    for _ in range(count):
        if os.fork() == 0:
            for at in range(0, len(kept), 4096):
                kept[at]
            time.sleep(0.4)
            os._exit(0)
    for _ in range(count):
        os.wait()
    return True


def fills(megabytes, files=1, folder="."):
    """Files in a folder."""
    for number in range(files):
        with open(f"{folder}/filling-{number}", "wb") as stream:
            for _ in range(megabytes):
                stream.write(b"x" * 1_000_000)
    time.sleep(1.5 if files > 1 else 0)
    return True


def opens(count):
    return len([open(os.devnull) for _ in range(count)])


def leaves_a_mess(progress, deep):
    """Folders without rights, too deep for recursion, and names of all kinds."""
    progress.note(os.environ["HOME"])
    os.mkdir("closed")
    Path("closed", "file").write_text("x")
    os.chmod("closed", 0)
    Path("odd\nname\\").write_text("x")
    for _ in range(deep):
        os.mkdir("d")
        os.chdir("d")
    return True


def prints(megabytes):
    line = "x" * 999 + "\n"
    for _ in range(megabytes * 1000):
        sys.stdout.write(line)
        sys.stderr.write(line)
    return "printed"


def pretends():
    for line in ({"value": "faked"}, {"level": ["everything"]}):
        print(json.dumps(line), flush=True)
        print(json.dumps(line), file=sys.stderr, flush=True)
    return "true"


def speaks_out_of_turn(lines, size=0):
    """Writes into every stream that it finds open."""
    for stream in range(3, 64):
        for line in lines:
            try:
                os.write(stream, line.encode() + b"x" * size + b"\n")
            except OSError:
                break
    return "true"


def floods(megabytes):
    """Writes without end into every stream that it finds open."""
    for stream in range(3, 64):
        try:
            for _ in range(megabytes):
                os.write(stream, b"x" * 1_000_000)
        except OSError:
            continue
    return "true"


def state():
    """Of the process itself."""
    return {
        "core": resource.getrlimit(resource.RLIMIT_CORE),
        "stdin": os.read(0, 10).decode(),
        "folder": os.getcwd(),
        "home": os.environ["HOME"],
        "path": sys.path,
        "flags": [sys.flags.isolated, sys.flags.no_user_site],
        "modules": sorted(set(sys.modules) & {"torch", "numpy", "pydantic", "radproof.app"}),
        "capable": next(line for line in Path("/proc/self/status").read_text().splitlines() if "CapEff" in line),
    }


def calls(names):
    """The error number of system calls, by their names in the guard's own list."""
    from radproof.core import seccomp

    libc = ctypes.CDLL(None, use_errno=True)
    column = seccomp._column(os.uname().machine)
    found = {}
    for name in names:
        number = {**seccomp._CALLS, **seccomp._ABSENT}[name][column]
        answer = libc.syscall(number, 0, 0, 0, 0, 0)
        found[name] = ctypes.get_errno() if answer < 0 else 0
    return found


def until_interrupted(progress, path):
    try:
        progress.note("ready")
        time.sleep(3600)
    except KeyboardInterrupt:
        from radproof.errors import Interrupted

        Path(path, "kept").write_text("finished")
        raise Interrupted("finished batches are kept") from None


def never_interrupted(progress):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    progress.note("ready")
    while True:
        time.sleep(3600)
