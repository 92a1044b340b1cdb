"""HTTP server: uvicorn with time and memory limits on each connection, run as one process by `mint serve`."""
