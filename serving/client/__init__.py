"""Python client of a Mint service, blocking and async.

    with MintClient("http://127.0.0.1:3000") as mint:
        boots = mint.generate(seeds=[1, 2, 3], labels="Ankle boot").images  # uint8 [3, H, W, C]

`requests` builds requests and parses responses, `retry` decides on retries, and `client` holds the two clients, which
differ only in `await`.
"""

from serving.client.client import AsyncMintClient, MintClient
from serving.client.requests import Generated, NoResponseError, ServerError

__all__ = ["AsyncMintClient", "Generated", "MintClient", "NoResponseError", "ServerError"]
