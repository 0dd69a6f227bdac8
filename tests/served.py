"""`wsrpn` without its imports: a server that has them done forks one process for each command.

A shell example starts a dozen commands, and each would spend two seconds on importing torch. The
server (`python tests/served.py SOCKET`) imports once; the client, which stands as `wsrpn` in the
PATH of the examples, sends its words, folder, environment and standard streams and ends with the
code that the command ends with.
"""

import json
import os
import signal
import socket
import sys
from pathlib import Path

CLIENT = """#!{python} -SE
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    words = [sys.argv[1:], os.getcwd(), dict(os.environ)]
    socket.send_fds(server, [b"!"], [0, 1, 2])
    server.sendall(json.dumps(words).encode() + b"\\n")
    told = server.recv(16)
sys.exit(int(told) if told else 70)
"""


def client(folder: Path, address: Path) -> Path:
    """Write the client into a folder as `wsrpn`."""
    path = folder / "wsrpn"
    path.write_text(CLIENT.format(python=sys.executable, address=str(address)))
    path.chmod(0o755)
    return path


def serve(address: str) -> None:
    """Take commands until the end of standard input, which is that of who started this."""
    import matplotlib.figure  # noqa: F401
    import pandas  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import torch  # noqa: F401

    import wsrpn.data
    import wsrpn.losses
    import wsrpn.models
    import wsrpn.segmentation.answers
    import wsrpn.train.run  # noqa: F401
    from wsrpn_cli import app  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(address)
        door.listen()
        print("ready", flush=True)
        while True:
            asked, _ = door.accept()
            if os.fork() == 0:
                door.close()
                answer(asked)
            asked.close()


def answer(asked: socket.socket) -> None:
    """Run one command in this process, and end it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, streams, _, _ = socket.recv_fds(asked, 1, 3)
    with asked.makefile() as line:
        words, folder, environment = json.loads(line.readline())
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["wsrpn", *words]
    from wsrpn_cli.app import main

    code = 0
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        asked.sendall(str(code).encode())
        os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1])
