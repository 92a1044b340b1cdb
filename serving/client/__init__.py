"""A client of a Mint service, for ordinary code and for async code.

    with Mint("http://127.0.0.1:3000") as mint:
        boots = mint.generate(seeds=[1, 2, 3], labels="Ankle boot").images  # uint8 [3, H, W, C]

What each request says is written once, in `calls`; `patience` decides what is sent again; `connections` holds the two
clients, which differ in nothing but `await`.
"""

from serving.client.client import AsyncMintClient, MintClient
from serving.client.requests import Generated, NoResponseError, ServerError

__all__ = ["AsyncMintClient", "Generated", "MintClient", "NoResponseError", "ServerError"]
