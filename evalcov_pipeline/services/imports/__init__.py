"""Files of outside tools: traces, cases, results, verdicts, labels, incidents."""
