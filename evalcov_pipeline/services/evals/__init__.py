"""The eval suite: its ledger, the suite of any instant, results and runs, incidents."""
