"""The service under load: how fast it is beside others, and whether it keeps its promises when things go wrong.

python -m benchmarks.serving              throughput and latency as ratios; tables and reports/bench.json
python -m benchmarks.serving.overload     four times what the service can take
python -m benchmarks.serving.client_address      slow and vanished clients
python -m benchmarks.serving.drain        SIGTERM under load
python -m benchmarks.serving.swap         a model file that is replaced under load
"""
