"""HTTP: ASGI middleware, routes, request schemas, error responses and the OpenAPI document."""
