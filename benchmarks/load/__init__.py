"""Load benchmark of the service: throughput and latency under wrk, as ratios to other servers of the same model."""
