"""nginx as a reverse proxy of a service, with default settings and a cache."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.load.reaper import reap_on_exit

START_TIMEOUT_S = 60
MAX_STARTS = 5  # another process may take the free port first

CONFIGURATION = """
{user}
pid nginx.pid;
daemon off;
error_log error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  proxy_cache_path cache keys_zone=mint:1m;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass {service};
      proxy_cache mint;
      add_header X-Cache $upstream_cache_status always;
    }}
  }}
}}
"""


@contextmanager
def nginx_proxy(service: str, folder: Path) -> Iterator[str]:
    """Run nginx in front of a service, with all of its files in `folder`; yields nginx's address."""
    for _ in range(MAX_STARTS):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        user = "user root;" if os.geteuid() == 0 else ""  # its workers need access to the folder
        (folder / "nginx.conf").write_text(CONFIGURATION.format(user=user, port=port, service=service))
        process = subprocess.Popen(["nginx", "-p", str(folder), "-c", "nginx.conf", "-e", "error.log"])
        reap_on_exit(process.pid)
        try:
            if _wait_until_listening(process, port):
                yield f"http://127.0.0.1:{port}"
                return
        finally:
            process.terminate()
            process.wait()
    raise AssertionError((folder / "error.log").read_text())


def _wait_until_listening(process: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until nginx accepts connections; False if it exits instead."""
    end = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.02)
        else:
            return process.poll() is None
    return False
