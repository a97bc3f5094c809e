"""Is a request ever lost or doubled? A site of real processes, faults by a seeded schedule, and a ledger that judges.

`schedule` says what happens when (pure), `site` starts the processes, `inject` does it to them, `devices` asks and
keeps the ledger, `judge` compares the ledger with the response log (pure), `driver` runs it all.

    python -m testbed.faults --seed 7 --faults 100 --json FILE
"""
