"""Environments of Python's own, with packages of PyPI, in which scripts compare quaid with what others make of the same."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def enter(name, *installs):
    """Makes this process one of the environment in target/NAME, into which each of `installs`, arguments of `pip install`, is
    installed once; false, with a printed line, when it cannot be had."""
    venv = ROOT / "target" / name / "venv"
    python = venv / "bin" / "python3"
    if pathlib.Path(sys.prefix).resolve() == venv.resolve():
        return True
    done, wanted = venv / "packages.txt", "\n".join(word for words in installs for word in words)
    if not done.exists() or done.read_text() != wanted:
        commands = [[python, "-m", "pip", "-q", "install", *words] for words in installs]
        for command in ([sys.executable, "-m", "venv", venv], *commands):
            made = subprocess.run(command, capture_output=True, text=True)
            if made.returncode != 0:
                print(f"skipped: cannot make target/{name}: {made.stderr.strip()[-300:]}")
                return False
        done.write_text(wanted)
    os.execv(python, [python, *sys.argv])
