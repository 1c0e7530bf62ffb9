"""A process that has the program loaded and forks it on request, so that fifty lives cost no fifty starts of Python.

Standard input: ``serve DIRECTORY FLAGS…`` forks a server, ``kill`` ends it by SIGKILL. Standard output, shared with
the servers: ``pid N`` before what a server says, ``gone`` when it is.
"""

from __future__ import annotations

import os
import signal
import sys

from tcsql.cli import main as tcsql


def main() -> None:
    child = 0
    for line in sys.stdin:
        command, *arguments = line.split()
        if command == "kill":
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            print("gone", flush=True)
            continue
        child = os.fork()
        if not child:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            code = 1
            try:
                print(f"pid {os.getpid()}", flush=True)
                code = tcsql(["serve", "--port", "0", "--data", *arguments])
            finally:
                sys.stdout.flush()
                os._exit(code)


if __name__ == "__main__":
    main()
