"""Runs a command under a seccomp filter, as a container would.

usage: seccomp.py EPERM|ENOSYS command [argument ...]     io_uring_setup(2) fails so, everything else passes
       seccomp.py PROFILE.json command [argument ...]     only what the profile allows passes, the rest gets EPERM

Numbers of system calls are read from the kernel's headers, which come with the C library's.
"""

import ctypes
import errno
import json
import os
import re
import struct
import subprocess
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ERRNO, ALLOW = 0x00050000, 0x7FFF0000


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


def instruction(code, jump_true, jump_false, k):
    return struct.pack("HBBI", code, jump_true, jump_false, k)


def numbers():
    """Name -> number of every system call of this machine's native architecture."""
    header = subprocess.run(
        ["cc", "-E", "-dM", "-include", "sys/syscall.h", "-x", "c", "/dev/null"], check=True, capture_output=True, text=True
    ).stdout
    return {name: int(number) for name, number in re.findall(r"^#define __NR_(\w+) (\d+)$", header, re.MULTILINE)}


def when(names, action, otherwise):
    """Instructions: `action` for the named calls, `otherwise` for the rest. A name this architecture lacks is no call."""
    known = numbers()
    yield instruction(LOAD_WORD, 0, 0, 0)  # seccomp_data.nr
    for name in names:
        if name in known:
            yield instruction(JUMP_IF_EQUAL, 0, 1, known[name])
            yield instruction(RETURN, 0, 0, action)
    yield instruction(RETURN, 0, 0, otherwise)


def install(instructions):
    code = b"".join(instructions)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = Program(len(code) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program)):
        raise OSError(ctypes.get_errno(), "prctl")


def main(rule, command):
    if rule.endswith(".json"):
        with open(rule, encoding="utf-8") as file:
            profile = json.load(file)
        names = [name for group in profile["syscalls"] for name in group["names"]]
        install(when(names, ALLOW, ERRNO | profile["defaultErrnoRet"]))
    else:
        install(when(["io_uring_setup"], ERRNO | getattr(errno, rule), ALLOW))
    os.execvp(command[0], command)


main(sys.argv[1], sys.argv[2:])
