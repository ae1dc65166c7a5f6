"""What the user is told when the database cannot be used."""

import errno
import sqlite3
from pathlib import Path

import pytest

from gpumod.core.errors import ErrorCode
from gpumod.store.failures import explain

FILE = Path("/state/gpumod.db")


def sqlite_error(code, message="it says"):
    error = sqlite3.OperationalError(message)
    error.sqlite_errorcode = code
    error.sqlite_errorname = "SQLITE_X"
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (sqlite_error(sqlite3.SQLITE_FULL), "is full: free some space"),
        (sqlite_error(sqlite3.SQLITE_BUSY), "locked by another process: end it"),
        (sqlite_error(sqlite3.SQLITE_BUSY_SNAPSHOT), "locked by another process: end it"),
        (sqlite_error(sqlite3.SQLITE_CORRUPT), "is damaged (it says): stop gpumodd, move the file away"),
        (sqlite_error(sqlite3.SQLITE_NOTADB), "is not a database of gpumod: move it away"),
        (sqlite_error(sqlite3.SQLITE_READONLY_DBMOVED), "cannot be opened for writing (it says)"),
        (sqlite_error(sqlite3.SQLITE_CANTOPEN), "make the file and its directory writable"),
        (sqlite_error(sqlite3.SQLITE_IOERR_WRITE), "look for a quota, a full disk or a disk error"),
        (sqlite_error(sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY, "no such row"), "cannot be used: no such row"),
        (sqlite3.ProgrammingError("no code"), "cannot be used: no code"),
        (OSError(errno.ENOSPC, "No space"), "is full: free some space"),
        (OSError(errno.EDQUOT, "Quota"), "is full: free some space"),
        (PermissionError(errno.EACCES, "Permission denied"), "(Permission denied): make the file"),
    ],
)
def test_failure_names_the_file_says_what_to_do_and_that_services_go_on(error, words):
    told = explain(error, FILE)
    assert words in told.detail
    assert str(FILE) in told.detail
    assert told.detail.endswith("Running services are left alone.")
    assert told.code is ErrorCode.STORE
    assert told.facts["file"] == str(FILE)
