"""Which architectures run here. Registering happens in a user namespace, so the host's registry stays as it is."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import machinespawn
from machinespawn.errors import MissingToolError, UsageError
from machinespawn.host import architecture

AARCH64 = """\
enabled
interpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P
flags: POCF
offset 0
magic 7f454c460201010000000000000000000200b700
mask ffffffffffffff00fffffffffffffffffeffffff
"""

SOURCE = Path(machinespawn.__file__).parents[1]

REGISTER = rb":qemu-aarch64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:" + (
    rb"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/bin/true:"
)


def test_the_native_architecture_is_dpkgs():
    told = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True).stdout.strip()
    assert architecture.native() == told
    architecture.check(told)


@pytest.mark.skipif(architecture.native() != "amd64", reason="i386 runs on amd64 only")
def test_i386_is_native_enough_on_amd64():
    architecture.check("i386")


def test_a_handler_takes_its_own_programs_and_no_others():
    handler = architecture.Handler.parse("qemu-aarch64", AARCH64)
    assert handler is not None
    assert handler.enabled
    assert handler.opened_early
    takers = [name for name, elf in architecture._ELF.items() if handler.takes(elf.header())]
    assert takers == ["arm64"]
    relocatable = bytearray(architecture._ELF["arm64"].header())
    relocatable[16] = 3  # ET_DYN, as programs mostly are; the mask leaves that bit out
    assert handler.takes(bytes(relocatable))


def test_a_handler_by_extension_is_no_handler_of_programs():
    assert architecture.Handler.parse("jar", "enabled\ninterpreter /usr/bin/java\nflags: \nextension .jar\n") is None


def test_the_native_header_is_the_one_of_a_real_program():
    with open("/proc/self/exe", "rb") as stream:
        real = stream.read(20)
    made = architecture._ELF[architecture.native()].header()
    assert real[:7] == made[:7]
    assert real[18:20] == made[18:20]


def test_an_architecture_nobody_knows_is_a_usage_error():
    with pytest.raises(UsageError) as caught:
        architecture.check("sparc")
    assert "arm64" in caught.value.hint


def in_user_namespace(registered: bytes, program: str) -> str:
    """What program prints in a namespace with a binfmt registry of its own, which the kernel has since 6.7."""
    script = textwrap.dedent(
        """
        import ctypes, os, sys
        libc = ctypes.CDLL(None, use_errno=True)
        target = b"/proc/sys/fs/binfmt_misc"
        assert libc.mount(b"binfmt_misc", target, b"binfmt_misc", 0, None) == 0, os.strerror(ctypes.get_errno())
        if registered:
            with open(target + b"/register", "wb", buffering=0) as stream:
                stream.write(registered)
        """
    )
    argv = ["unshare", "--user", "--map-root-user", "--mount", sys.executable, "-c"]
    code = f"registered = {registered!r}\n{script}\nfrom machinespawn.host import architecture\n{program}"
    done = subprocess.run([*argv, code], capture_output=True, text=True, check=False, cwd=SOURCE)
    if "Operation not permitted" in done.stderr:
        pytest.skip("no binfmt_misc of its own for a user namespace here")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(architecture.native() == "arm64", reason="arm64 is native here")
def test_a_registered_architecture_passes_mounted_or_not():
    # entries live as long as anybody has the file system mounted or open, wherever that is
    unmount = "held = os.open(target, os.O_RDONLY); assert libc.umount2(target, 2) == 0"
    program = "architecture.check('arm64'); print(architecture.foreign())"
    assert in_user_namespace(REGISTER + b"OCF", program) == "('arm64',)\n"
    assert in_user_namespace(REGISTER + b"OCF", f"{unmount}; {program}") == "('arm64',)\n"


@pytest.mark.skipif(architecture.native() == "arm64", reason="arm64 is native here")
@pytest.mark.parametrize(
    ("registered", "before", "word"),
    [
        (REGISTER, "", "without flag F"),
        (REGISTER + b"F", "open(target + b'/qemu-aarch64', 'w').write('0')", "echo 1 >"),
        (b"", "", "qemu"),
    ],
)
def test_what_is_missing_is_said(registered, before, word):
    program = (
        f"{before}\ntry:\n    architecture.check('arm64')\nexcept Exception as e:\n    print(type(e).__name__, e.hint)"
    )
    told = in_user_namespace(registered, program)
    assert told.startswith("MissingToolError")
    assert word in told


def test_handlers_leave_no_mount_behind():
    before = Path("/proc/self/mountinfo").read_text()
    architecture.handlers()
    assert Path("/proc/self/mountinfo").read_text() == before


def test_foreign_never_names_what_is_native():
    assert architecture.native() not in architecture.foreign()


def test_missing_is_an_error_with_a_hint_on_this_very_host():
    missing = sorted(set(architecture._ELF) - {architecture.native(), "i386", *architecture.foreign()})
    if not missing:
        pytest.skip("everything runs here")
    with pytest.raises(MissingToolError) as caught:
        architecture.check(missing[0])
    assert caught.value.hint
