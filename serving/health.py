"""Health check of the service in the same container: exits with 0 when it is ready.

python -m serving.health

Imports next to nothing, as it runs every few seconds. http.client and not urllib.request, which would ask a proxy
named in the environment.
"""

import http.client
import os
import sys

from serving.errors import MintError
from serving.server.listener import Address

TIMEOUT_S = 4
DEFAULT = "127.0.0.1:3000"  # of MINT_LISTEN
# A server that listens on every address is asked on loopback.
LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def main() -> None:
    """Asks /readyz at the address in MINT_LISTEN; a service that is not ready ends this with a sentence and 1."""
    try:
        address = Address.parse(os.environ.get("MINT_LISTEN", DEFAULT))
        connection = http.client.HTTPConnection(
            LOOPBACK.get(address.host, address.host), address.port, timeout=TIMEOUT_S
        )
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException, MintError) as error:
        sys.exit(f"error: the service does not answer ({error})")
    if status != 200:
        sys.exit(f"error: the service is not ready (status {status}); its log says why")


if __name__ == "__main__":
    main()
