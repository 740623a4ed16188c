"""The throwaway systemd host, and what is asked of its machined."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from machinespawn.errors import MissingToolError
from machinespawn.runtimes import bus
from tests.lab.host import LabHost, lab_host
from tests.lab.namespaces import cover, isolated

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

MACHINES = "from machinespawn.runtimes import bus; print(bus.machines())"


@pytest.fixture(scope="module")
def lab() -> Iterator[LabHost]:
    with lab_host() as host:
        yield host


def start_machine(lab: LabHost, name: str) -> None:
    """A machine of the host's own /usr, which systemd runs and machined registers."""
    nspawn = ["systemd-nspawn", "--quiet", "--keep-unit", "--volatile=yes", "--directory=/", f"--machine={name}"]
    lab.run(["systemd-run", f"--unit={name}", "--service-type=notify", *nspawn, "sleep", "infinity"])


def test_it_is_a_host_that_runs(lab: LabHost) -> None:
    assert lab.run(["systemctl", "is-system-running"]).stdout == "running\n"
    assert lab.run(["systemctl", "--failed", "--quiet", "--plain", "--no-legend"]).stdout == ""
    assert lab.run(["cat", "/proc/1/comm"]).stdout == "systemd\n"
    assert lab.run(["stat", "-f", "-c", "%T", "/sys/fs/cgroup"]).stdout == "cgroup2fs\n"
    assert "0::/lab-run" in lab.run(["cat", "/proc/self/cgroup"]).stdout.splitlines()


def test_its_machined_lists_machines(lab: LabHost) -> None:
    assert lab.python(MACHINES) == "()\n"
    start_machine(lab, "crumb")
    assert lab.python(MACHINES) == "('crumb',)\n"
    start_machine(lab, "bread")
    assert lab.python(MACHINES) == "('bread', 'crumb')\n"
    lab.run(["machinectl", "terminate", "crumb"])
    lab.run(["systemctl", "stop", "bread"])
    assert lab.python(MACHINES) == "()\n"


def test_the_doctor_finds_machined_there(lab: LabHost) -> None:
    code = (
        "from machinespawn.config import Config; from machinespawn.host import doctor\n"
        "print([check.ok for check in doctor.examine(Config()) if check.group == 'systemd'])"
    )
    assert lab.python(code) == "[True]\n"


def test_a_bus_without_machined_is_an_error_of_ours() -> None:
    with lab_host() as lab:
        lab.run(
            ["systemctl", "mask", "--runtime", "--now", "systemd-machined.service", "dbus-org.freedesktop.machine1"]
        )
        code = (
            "from machinespawn.runtimes import bus; from machinespawn.errors import MachinespawnError\n"
            "try:\n    bus.machines()\nexcept MachinespawnError as error:\n    print(error.code, error.hint)"
        )
        told = lab.python(code)
        assert told.split()[0] in ("missingtool", "machinespawn")
        assert "systemd" in told


def test_no_bus_is_an_error_of_ours(tmp_path: Path) -> None:
    def inside() -> tuple[str, str]:
        cover("/run", str(tmp_path))
        with pytest.raises(MissingToolError) as caught:
            bus.machines()
        return caught.value.message, caught.value.hint

    message, hint = isolated(inside)
    assert "no system bus" in message
    assert hint


def test_what_is_written_on_it_stays_there(lab: LabHost) -> None:
    place = "/etc/written-in-the-lab"
    lab.run(["sh", "-c", f"echo here > {place} && hostname oven"])
    assert (lab.root / place[1:]).read_text() == "here\n"
    assert not Path(place).exists()
    assert os.uname().nodename != "oven"
    assert lab.run(["ls", "-A", "/var/lib/machines"]).stdout == ""


def test_its_network_is_its_own_unless_it_is_shared(lab: LabHost) -> None:
    ours = subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True).stdout
    assert lab.run(["readlink", "/proc/self/ns/net"]).stdout.strip() != os.readlink("/proc/self/ns/net")
    with lab_host(own_network=False) as sharing:
        assert sharing.run(["readlink", "/proc/self/ns/net"]).stdout.strip() == os.readlink("/proc/self/ns/net")
        assert sharing.run(["systemctl", "is-system-running"]).stdout == "running\n"
    assert subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True).stdout == ours


def test_nothing_is_left_of_it_and_of_its_machines() -> None:
    file_max = Path("/proc/sys/fs/file-max").read_text()
    with lab_host() as lab:
        start_machine(lab, "crumb")
        namespace = os.readlink(f"/proc/{lab.init}/ns/pid")
        assert list(lab.cgroup.glob("**/payload"))
        assert len(namespaces() & {namespace}) == 1
    check_gone(lab)
    assert namespace not in namespaces()
    assert Path("/proc/sys/fs/file-max").read_text() == file_max


def test_it_ends_with_an_error_too() -> None:
    with pytest.raises(ZeroDivisionError), lab_host() as lab:
        raise ZeroDivisionError
    check_gone(lab)


def check_gone(lab: LabHost) -> None:
    assert not lab.cgroup.exists()
    assert not lab.scratch.exists()
    assert str(lab.scratch) not in Path("/proc/self/mountinfo").read_text()
    assert not Path(f"/proc/{lab.init}").exists()


def namespaces() -> set[str]:
    """Every namespace of process ids that a process is in."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/ns/pid"):
        try:
            found.add(os.readlink(path))
        except OSError:  # it ended meanwhile
            continue
    return found
