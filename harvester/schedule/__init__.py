"""Ready files for systemd, cron, Kubernetes and GitHub Actions that start the nightly harvest.

Pure: a plan goes in, names and texts come out. Nothing is installed.
"""
