"""What a user sees of an error."""

from __future__ import annotations

import subprocess
import sys


def uncaught(error: str) -> str:
    code = f"from diffurecsys.errors import *; hide_tracebacks_of_user_errors()\ndef fail(): raise {error}\nfail()"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr


def test_a_users_error_is_its_message():
    assert uncaught("DataError('line 3: what')") == "DataError: line 3: what\n"


def test_a_users_error_in_anothers_is_its_message_too():
    """As Kedro wraps what datasets raise."""
    code = """
from diffurecsys.errors import *
hide_tracebacks_of_user_errors()
try:
    raise DataError('line 3: what')
except DataError as error:
    raise RuntimeError('while loading') from error
"""
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr
    assert printed == "DataError: line 3: what\n"


def test_a_defect_keeps_its_traceback():
    printed = uncaught("ValueError('what')")
    assert "in fail" in printed
    assert printed.endswith("ValueError: what\n")
