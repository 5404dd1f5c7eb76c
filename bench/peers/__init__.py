"""Ours compared with what a user would pick instead ("peers") and with the machine's limit, in one run on one machine.

    ROWS (rows.py) -> Case (case.py) -> rounds.py: a child each (crew.py, contenders/serve.py) for ours, the peers and
    the limit, sampled round-robin -> PeerRecord (record.py) -> journal.jsonl -> tables.py -> peers.csv, peers_all.csv
    (files.py) -> plot.py

The parent imports neither jax nor torch. What is timed is in contenders/, a file for each package.
"""
