"""What test scripts begin and end with: the program, the lines that tests/run.sh counts, the exit status.

    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
    from checks import INGOT, ROOT, check, finish, ingot
"""
import os, subprocess, sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
INGOT = os.environ.get("INGOT", ROOT + "/build/ingot")
failed = 0


def check(name, ok, detail=""):
    global failed
    failed += not ok
    print(("ok " if ok else "FAIL ") + name + ("" if ok else ": " + str(detail)[:600]), flush=True)


def ingot(*args):
    return subprocess.run([INGOT, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish():
    sys.exit(failed > 0)
