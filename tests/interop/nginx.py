"""nginx before a service, with its stock settings and a cache."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.load.reaper import reap_on_exit

START_TIMEOUT_S = 60
STARTS = 5  # a port that was free a moment ago may be taken

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
def nginx_before(service: str, folder: Path) -> Iterator[str]:
    """Runs nginx before the service at an address, with all of its files in `folder`; yields nginx's own address."""
    for _ in range(STARTS):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        user = "user root;" if os.geteuid() == 0 else ""  # its workers have to get into the folder
        (folder / "nginx.conf").write_text(CONFIGURATION.format(user=user, port=port, service=service))
        process = subprocess.Popen(["nginx", "-p", str(folder), "-c", "nginx.conf", "-e", "error.log"])
        reap_on_exit(process.pid)
        try:
            if _listens(process, port):
                yield f"http://127.0.0.1:{port}"
                return
        finally:
            process.terminate()
            process.wait()
    raise AssertionError((folder / "error.log").read_text())


def _listens(process: subprocess.Popen[bytes], port: int) -> bool:
    """Waits until nginx takes connections; False when it has ended instead."""
    end = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.02)
        else:
            return process.poll() is None
    return False
