"""Runs a command to which the kernel refuses io_uring, as container profiles do.

usage: deny_io_uring.py EPERM|ENOSYS command [argument ...]

A seccomp filter answers io_uring_setup(2) with the given error and lets everything else pass. The number 425 is the
same on all architectures.
"""

import ctypes
import errno
import os
import struct
import sys

IO_URING_SETUP = 425
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
SECCOMP_RET_ERRNO, SECCOMP_RET_ALLOW = 0x00050000, 0x7FFF0000


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


def instruction(code, jump_true, jump_false, k):
    return struct.pack("HBBI", code, jump_true, jump_false, k)


def deny(error):
    instructions = b"".join([
        instruction(LOAD_WORD, 0, 0, 0),  # seccomp_data.nr
        instruction(JUMP_IF_EQUAL, 0, 1, IO_URING_SETUP),
        instruction(RETURN, 0, 0, SECCOMP_RET_ERRNO | error),
        instruction(RETURN, 0, 0, SECCOMP_RET_ALLOW),
    ])
    buffer = ctypes.create_string_buffer(instructions, len(instructions))
    program = Program(len(instructions) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program)):
        raise OSError(ctypes.get_errno(), "prctl")


deny(getattr(errno, sys.argv[1]))
os.execvp(sys.argv[2], sys.argv[2:])
