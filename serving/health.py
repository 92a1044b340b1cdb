"""Health check for the container: exits with 0 when the service in it is ready.

    python -m serving.health

It runs every few seconds, so it imports next to nothing. http.client and not urllib.request, which would use a proxy
that the environment names.
"""

import http.client
import os
import sys

from serving.address import Address
from serving.errors import MintError

TIMEOUT_S = 4
DEFAULT_LISTEN = "127.0.0.1:3000"  # of MINT_LISTEN
# A server that listens on every address is reached on loopback.
LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def main() -> None:
    """Request /readyz at the address in MINT_LISTEN; exit with a sentence and 1 if the service is not ready."""
    try:
        address = Address.parse(os.environ.get("MINT_LISTEN", DEFAULT_LISTEN))
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
