"""What people at a terminal and monitoring systems are told: progress, logs, Prometheus, pings, systemd.

This room watches a run and changes nothing. What people read afterwards is in `reports`.
"""
