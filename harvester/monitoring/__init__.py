"""What a person at a terminal and the machines that watch are told: progress, logs, Prometheus, pings, systemd.

It looks at a run and changes nothing. What is read in the morning is in `reports`.
"""
