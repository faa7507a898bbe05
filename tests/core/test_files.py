"""Folders are synced where the file system can."""

import errno
import os
from pathlib import Path

import pytest

from harvester.core.files import sync_directory


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_that_cannot_sync_folders_is_no_failure(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", failing(number))
    sync_directory(tmp_path)


def test_a_folder_that_fails_to_be_synced_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        sync_directory(tmp_path)


def failing(number: int) -> object:
    def fail(_: int) -> None:
        raise OSError(number, os.strerror(number))

    return fail
