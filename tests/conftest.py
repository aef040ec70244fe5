# SPDX-License-Identifier: GPL-2.0-or-later
"""What pytest does around the files of tests and around each test."""
import fcntl
import os
import tempfile
from pathlib import Path

import pytest

from lib import sanitizer, wait


def pytest_collection_modifyitems(items):
    """Files that run alone come last, so that nobody waits for them."""
    items.sort(key=lambda item: getattr(item.module, "SERIAL", False))


@pytest.hookimpl(hookwrapper=True, tryfirst=True)   # before pytest-timeout's
def pytest_runtest_protocol(item):
    """What hangs has its end, as late as the machine is busy now."""
    item.add_marker(pytest.mark.timeout(wait.patience(450)))
    yield


@pytest.fixture(scope="module", autouse=True)
def alone(request):
    """A file that says `SERIAL = True` runs while no other one does."""
    serial = getattr(request.module, "SERIAL", False)
    path = Path(tempfile.gettempdir(), "running")
    with open(path, "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if serial else fcntl.LOCK_SH)
        yield


@pytest.fixture(scope="module", autouse=sanitizer.SANITIZE != "")
def reports(request):
    """What a sanitizer says is a failure of the file."""
    folder = sanitizer.prepare(request.module.__name__, getattr(
        request.module, "WHOLE_STACKS", False))
    yield
    if sanitizer.said(folder):
        pytest.fail(sanitizer.said(folder), pytrace=False)


@pytest.fixture(scope="class", autouse=True)
def cleanups(request):
    """pytest 7 does not say which class cleanups failed, as unittest does."""
    yield
    for error in getattr(request.cls, "tearDown_exceptions", ()):
        raise error[1]
