"""One run a ledger, whatever becomes of the run before it."""

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harvester.core.errors import DiskFailed, LedgerLost, LockHeld, Misconfigured
from harvester.storage import lock as lock_module
from harvester.storage.lock import file_system_of, lock, refuse_network

HOLD = """
import pathlib, sys
from harvester.storage.lock import lock
with lock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""

MOUNTS = r"""/dev/sda1 / ext4 rw,relatime 0 0
proc /proc proc rw 0 0
server:/export /home nfs4 rw,vers=4.2 0 0
/dev/sdb1 /home/local ext4 rw 0 0
//nas/share /mnt/my\040share cifs rw 0 0
me@host: /mnt/tab\011and\134slash fuse.sshfs rw 0 0
systemd-1 /auto autofs rw 0 0
server:/auto /auto nfs rw 0 0
tmpfs /mnt/line"""
MOUNTS += "\u2028break tmpfs rw 0 0\n\nbroken\n"


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "out.ledger"


def test_a_second_holder_is_refused_and_told_who_holds_it(ledger: Path) -> None:
    with (
        lock(ledger),
        pytest.raises(LockHeld, match=rf"process {os.getpid()}\) works with .*out\.ledger"),
        lock(ledger),
    ):
        pass


def test_a_refused_holder_does_not_free_the_lock_of_the_other(ledger: Path) -> None:
    with lock(ledger):
        for _ in range(2):
            with pytest.raises(LockHeld), lock(ledger):
                pass


def test_the_lock_is_free_again_after_use_and_after_an_error(ledger: Path) -> None:
    with pytest.raises(ZeroDivisionError), lock(ledger):
        raise ZeroDivisionError
    with lock(ledger):
        pass


def test_the_ledger_itself_is_never_opened(ledger: Path) -> None:
    with lock(ledger):
        assert not ledger.exists()


def test_two_names_of_one_ledger_are_one_lock(ledger: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link.ledger"
    link.symlink_to(ledger)
    with lock(ledger), pytest.raises(LockHeld), lock(link):
        pass


def test_kill_9_of_the_holder_frees_the_lock(ledger: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(ledger)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LockHeld, match=f"process {holder.pid}"), lock(ledger):
            pass
        holder.kill()
        holder.wait()
        with lock(ledger):
            pass


def test_a_missing_folder_is_told_by_name(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="nowhere does not exist"), lock(tmp_path / "nowhere" / "x.ledger"):
        pass


def test_a_lock_file_that_cannot_be_made_is_a_failure_of_the_disk(
    ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(DiskFailed, match=r"out\.ledger\.lock: Read-only"), lock(ledger):
        pass


def test_a_disk_without_locks_is_refused(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_descriptor: int, _how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(DiskFailed, match="cannot be locked: No locks available"), lock(ledger):
        pass


def test_a_full_disk_does_not_keep_the_lock_from_being_taken(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", fail)
    with lock(ledger), pytest.raises(LockHeld, match="another run works"), lock(ledger):
        pass


def deleted(path: Path) -> None:
    path.unlink()


def replaced(path: Path) -> None:
    path.with_name("fresh").write_bytes(path.read_bytes())
    path.with_name("fresh").rename(path)


def moved(path: Path) -> None:
    """With its folder, as by somebody who tidies up."""
    path.parent.rename(path.parent.with_name("elsewhere"))


@pytest.mark.parametrize("touch", [deleted, replaced, moved])
def test_a_lock_whose_file_was_taken_away_is_lost(tmp_path: Path, touch: Callable[[Path], None]) -> None:
    """Promise G6: another run could lock another file by now."""
    (tmp_path / "folder").mkdir()
    ledger = tmp_path / "folder" / "out.ledger"
    with lock(ledger) as held:
        held.require()
        touch(ledger.with_name("out.ledger.lock"))
        with pytest.raises(LedgerLost, match=r"lock .*was deleted or replaced.*Nothing more was written"):
            held.require()


def test_a_lock_file_that_is_deleted_before_it_is_locked_is_made_anew(
    ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, flock, deletions = ledger.with_name("out.ledger.lock"), fcntl.flock, iter([deleted, deleted])

    def slow(descriptor: int, how: int) -> None:
        next(deletions, lambda _path: None)(file)
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", slow)
    with lock(ledger) as held:
        held.require()
        with pytest.raises(LockHeld), lock(ledger):
            pass


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/", "ext4"),
        ("/var/lib/harvester", "ext4"),
        ("/home/jane", "nfs4"),
        ("/home", "nfs4"),
        ("/homework", "ext4"),
        ("/home/local/jane", "ext4"),
        ("/mnt/my share/a", "cifs"),
        ("/mnt/tab\tand\\slash", "fuse.sshfs"),
        ("/auto/x", "nfs"),
        ("/mnt/line\u2028break", "tmpfs"),
    ],
)
def test_the_innermost_and_latest_mount_tells_the_file_system(folder: str, kind: str) -> None:
    assert file_system_of(Path(folder), MOUNTS) == kind


def test_without_mounts_the_file_system_is_unknown() -> None:
    assert file_system_of(Path("/home"), "") == ""


def test_a_ledger_on_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_module, "file_system_of", lambda _folder, _mounts: "nfs4")
    with pytest.raises(Misconfigured, match=r"network file system \(nfs4\).*--ledger"):
        refuse_network(tmp_path)


def test_a_local_disk_is_not_refused(tmp_path: Path) -> None:
    refuse_network(tmp_path)
