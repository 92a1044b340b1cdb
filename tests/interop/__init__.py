"""Other people's HTTP clients and a proxy with its stock settings, each with the requests that the README shows."""
