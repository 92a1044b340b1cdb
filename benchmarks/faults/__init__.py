"""Fault tests: the service under overload, disconnecting clients, SIGTERM, replaced model files and attacks."""
