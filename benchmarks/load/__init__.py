"""The service under load: how fast it is beside others, and whether it keeps its promises when things go wrong.

python -m benchmarks.load              throughput and latency as ratios; tables and reports/bench.json
python -m benchmarks.faults.overload     four times what the service can take
python -m benchmarks.load.client_address      slow and vanished clients
python -m benchmarks.faults.drain        SIGTERM under load
python -m benchmarks.faults.swap         a model file that is replaced under load
"""
