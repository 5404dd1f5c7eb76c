"""Ours beside what a user would pick instead ("peers"), and beside the machine's limit, in one run on one machine.

    ROWS (rows.py) -> Case (case.py) -> rounds.py: a child each (talk.py, child.py) for ours, the peers and the limit,
    sampled in turns -> journal.jsonl -> figures.py -> peers.csv, peers_all.csv -> plot.py

The parent imports neither jax nor torch. What is timed is in contenders/, a file for each package.
"""
