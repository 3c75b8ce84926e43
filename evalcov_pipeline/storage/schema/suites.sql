-- What each case can tell apart, from its results since it has its present wording.
CREATE TABLE IF NOT EXISTS case_discrimination (
  case_id VARCHAR NOT NULL PRIMARY KEY, -- case
  case_status VARCHAR, -- in the suite: active, retired or superseded; NULL where the suite does not know it
  n_runs BIGINT NOT NULL, -- first tries of the product
  n_failed BIGINT NOT NULL, -- of them, those that failed
  n_known_bad BIGINT NOT NULL, -- first tries of systems that are broken on purpose
  pass_rate DOUBLE, -- of first tries, shrunk toward the suite's
  pass_rate_tries DOUBLE, -- tries that it is worth
  flip_rate DOUBLE, -- share of consecutive runs whose verdict changed; NULL below 2 runs
  flakiness DOUBLE, -- chance that two tries of one system disagree, 0..0.5; NULL where none was tried twice
  flaky BOOLEAN NOT NULL, -- too flaky to decide a gate
  saturated BOOLEAN, -- never failed in any run, broken systems included; NULL below 5 runs
  broken BOOLEAN, -- never passed a first try of the product; NULL below 5 runs
  failing BOOLEAN NOT NULL, -- failed most tries of its newest run
  discrimination DOUBLE, -- corrected item-total correlation; NULL with a reason
  discrimination_reason VARCHAR, -- why there is none
  kills BIGINT NOT NULL, -- systems broken on purpose that break it
  review VARCHAR, -- why a person should look at its label; NULL where nothing speaks for it
  unfit VARCHAR, -- why it cannot decide a gate; NULL where it can
  last_failed_at TIMESTAMP -- last run of the product that failed it, UTC
);

-- How likely a gate is to notice each system that is broken on purpose by each case.
CREATE TABLE IF NOT EXISTS case_detection (
  case_id VARCHAR NOT NULL, -- case
  variant VARCHAR NOT NULL, -- the broken system
  tries BIGINT NOT NULL, -- tries there
  failed BIGINT NOT NULL, -- of them, failed
  detection DOUBLE NOT NULL, -- probability that the gate confirms the case as broken, beyond how often it would anyway
  PRIMARY KEY (case_id, variant)
);

-- Goodhart watch: the suite's score against that of cases new to a run, which nobody has tuned against, by 30 days.
CREATE TABLE IF NOT EXISTS goodhart_watch (
  "at" TIMESTAMP NOT NULL PRIMARY KEY, -- start of the period, UTC
  suite_cases BIGINT NOT NULL, -- first tries of cases that had been run before, in the runs with fresh cases; in all runs of a period without
  suite_passed BIGINT NOT NULL, -- of them, passed
  fresh_cases BIGINT NOT NULL, -- first tries of cases that were drawn at random from production, each in its first run
  fresh_passed BIGINT NOT NULL, -- of them, passed
  gap DOUBLE, -- suite less fresh pass rate; NULL without fresh cases
  gap_low DOUBLE, -- lower end of its 95 % interval
  gap_high DOUBLE, -- upper end
  mean_gap DOUBLE, -- over all periods, weighted by precision; the same in every row, as what follows
  gap_p_value DOUBLE, -- one-sided, of a suite score no higher than the fresh one
  slope DOUBLE, -- change of the gap per 30 days
  slope_p_value DOUBLE, -- one-sided, of a gap that does not widen
  verdict VARCHAR NOT NULL -- widening, gap, none or insufficient
);

-- CI suites: small sets of cases chosen to notice regressions within a time budget.
CREATE TABLE IF NOT EXISTS ci_suites (
  suite_id VARCHAR NOT NULL PRIMARY KEY, -- hash of the cases, as in the exported file
  created_at TIMESTAMP NOT NULL, -- when it was first chosen, UTC
  chosen_at TIMESTAMP NOT NULL, -- when it was last chosen, UTC: the newest is in force; its figures are of then
  n_cases BIGINT NOT NULL, -- its cases
  n_deciding BIGINT NOT NULL, -- of them, those that enter the gate's verdict
  budget_s DOUBLE NOT NULL, -- seconds it may take
  workers BIGINT NOT NULL, -- cases that run at the same time
  expected_s DOUBLE NOT NULL, -- seconds it takes at the 90th percentile of every case's latency
  detection_power DOUBLE NOT NULL, -- chance that a deciding case fails when a failure mode, drawn by weight, is there
  n_failure_modes BIGINT NOT NULL, -- failure modes it was chosen against
  weighed_by VARCHAR NOT NULL, -- what failure modes weigh by
  left_out VARCHAR NOT NULL, -- cases that cannot decide, with why: JSON list of {case_id, reason}
  note VARCHAR -- what could not be honoured; NULL where nothing
);

-- Cases of the CI suites, in order of choice.
CREATE TABLE IF NOT EXISTS ci_suite_cases (
  suite_id VARCHAR NOT NULL, -- suite
  case_id VARCHAR NOT NULL, -- case
  version BIGINT NOT NULL, -- its version, see eval_case_versions
  rank BIGINT NOT NULL, -- order of choice, from 1
  decides BOOLEAN NOT NULL, -- enters the gate's verdict; else it is run and shown
  reason VARCHAR NOT NULL, -- why it is in
  expected_s DOUBLE NOT NULL, -- 90th percentile of its latency in seconds
  failure_mode VARCHAR, -- kind of failure that it guards
  incident_id VARCHAR, -- incident that it guards
  pass_rate DOUBLE NOT NULL, -- of first tries of the product, shrunk
  pass_rate_tries DOUBLE, -- tries that it is worth
  refused_judges VARCHAR[] NOT NULL, -- judges that have no say about it
  PRIMARY KEY (suite_id, case_id)
);
