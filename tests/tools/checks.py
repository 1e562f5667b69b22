"""What test scripts begin and end with: the program, the lines that tests/run.sh counts, the exit status.

    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
    from checks import INGOT, ROOT, check, finish, ingot
"""
import hashlib, os, signal, subprocess, sys, time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
INGOT = os.environ.get("INGOT", ROOT + "/build/ingot")
failed = 0


def check(name, ok, detail=""):
    global failed
    failed += not ok
    print(("ok " if ok else "FAIL ") + name + ("" if ok else ": " + str(detail)[:600]), flush=True)


def ingot(*args):
    return subprocess.run([INGOT, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def digest(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def kill_calibrate(out, blocks, *args):
    """Runs `ingot calibrate ARGS -o OUT` on one thread and kills it once its journal has `blocks` lines; how many it had then."""
    job = subprocess.Popen([INGOT, "calibrate", *args, "-o", out, "-q", "-t", "1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    journal, done = f"{os.path.dirname(out)}/.{os.path.basename(out)}.ingot-partial/.ingot-journal", 0
    while job.poll() is None and done < blocks:
        if os.path.exists(journal):
            with open(journal, "rb") as f:
                done = f.read().count(b"\n")
        time.sleep(0.002)
    job.send_signal(signal.SIGKILL)
    job.wait()
    return done


def finish():
    sys.exit(failed > 0)
