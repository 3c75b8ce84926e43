-- The score: how far the eval suite lies from production traffic, one row per week and taxonomy. Divergences are in bits, 0..1.
CREATE TABLE IF NOT EXISTS coverage_scores (
  as_of TIMESTAMP NOT NULL, -- exclusive end of the scored week, UTC
  taxonomy_id VARCHAR NOT NULL, -- taxonomy that the score was computed under
  headline BOOLEAN NOT NULL, -- true for one row per as_of; a refit week has a second row under the previous taxonomy
  window_start TIMESTAMP NOT NULL, -- start of the traffic window
  window_end TIMESTAMP NOT NULL, -- end of the traffic window, exclusive
  n_sessions BIGINT NOT NULL, -- sessions in the sample
  n_production BIGINT NOT NULL, -- turns in the sample
  n_unassigned BIGINT NOT NULL, -- turns and cases whose text has no assignment: 0 unless something went wrong
  n_eff DOUBLE, -- Kish effective sample size
  n_eval BIGINT NOT NULL, -- cases active at as_of
  n_clusters BIGINT NOT NULL, -- named clusters of the taxonomy
  jsd DOUBLE, -- Jensen-Shannon divergence of production and suite, plug-in: inflated for small suites
  jsd_adjusted DOUBLE, -- corrected for the suite's size: the headline
  jsd_ci_low DOUBLE, -- lower end of its 95 % interval
  jsd_ci_high DOUBLE, -- upper end of its 95 % interval
  null_mean DOUBLE, -- mean plug-in divergence of suites drawn perfectly from production
  null_p95 DOUBLE, -- 95th percentile of the same
  p_value DOUBLE, -- chance that a suite drawn from production diverges at least this much
  attainable_jsd DOUBLE, -- least plug-in divergence that any suite of this size can reach
  covered_share DOUBLE, -- steady traffic in named clusters that the suite tests
  unmeasured_share DOUBLE, -- steady traffic without eligible eval results
  novel_share DOUBLE, -- steady traffic outside every cluster
  truncated_share DOUBLE, -- steady traffic longer than the embedding model's window
  band VARCHAR, -- good, watch, divergent, severe or undecidable
  degraded BOOLEAN NOT NULL, -- significantly divergent beyond the threshold, or a liability cluster
  liabilities VARCHAR[] NOT NULL, -- cluster keys with much traffic and no case
  cases_to_settle BIGINT, -- where undecidable: size of suite that would settle it
  verdict VARCHAR NOT NULL, -- the result in one sentence
  eval_run_id VARCHAR, -- newest complete run at as_of
  judge_id VARCHAR, -- its judge
  judge_note VARCHAR, -- which of its verdicts are refused and left out; NULL where none is
  refused_results BIGINT, -- first tries left out, because the verdicts of their judge are refused and no person has judged them
  eval_score DOUBLE, -- unweighted pass rate of that run, first tries that are not left out
  reweighted_score DOUBLE, -- pass rate over the measured share, weighted like production
  reweighted_low DOUBLE, -- lower bound for all traffic, unmeasured traffic counted as failing
  reweighted_high DOUBLE, -- upper bound for all traffic, unmeasured traffic counted as passing
  latency_ms DOUBLE, -- median response time of the eval run in milliseconds
  cost_usd DOUBLE, -- mean cost per case of the eval run in US dollars
  production_latency_ms DOUBLE, -- median response time of the sampled turns in milliseconds
  production_cost_usd DOUBLE, -- mean cost per sampled turn in US dollars
  diagnosis VARCHAR, -- what moved: coverage_gap_widening, quality_changed, both, stable or judge_changed; NULL while there is too little history
  diagnosis_reason VARCHAR, -- the tests behind the diagnosis, or what is missing for one
  PRIMARY KEY (as_of, taxonomy_id)
);

-- Coverage of each cluster in each scored week; -1 is novel traffic.
CREATE TABLE IF NOT EXISTS cluster_coverage (
  as_of TIMESTAMP NOT NULL, -- exclusive end of the scored week, UTC
  taxonomy_id VARCHAR NOT NULL, -- taxonomy
  cluster_id INTEGER NOT NULL, -- cluster within the taxonomy; -1 = novel
  cluster_key VARCHAR NOT NULL, -- stable name across taxonomies
  label VARCHAR NOT NULL, -- short description
  production_share DOUBLE NOT NULL, -- share of steady traffic
  production_share_low DOUBLE, -- lower end of its 95 % interval
  production_share_high DOUBLE, -- upper end of its 95 % interval
  traffic_share DOUBLE NOT NULL, -- share of what happened, spikes included
  eval_cases BIGINT NOT NULL, -- active cases
  eval_share DOUBLE, -- share of the suite; NULL for an empty suite
  coverage_ratio DOUBLE, -- eval_share / production_share; NULL where production_share is 0
  jsd_contribution DOUBLE, -- part of jsd; the parts of a week sum to it
  status VARCHAR NOT NULL, -- liability, gap, thin, covered, over_represented, undecidable or novel
  gap_share DOUBLE, -- share of the cluster's traffic that lies in a local gap (text_coverage.in_gap)
  newest_case_at TIMESTAMP, -- newest active case
  stale BOOLEAN NOT NULL, -- newest case is old while the cluster grows
  pass_rate DOUBLE, -- pass rate of its cases in the scored run
  n_results BIGINT NOT NULL, -- its cases with eligible results in that run
  PRIMARY KEY (as_of, taxonomy_id, cluster_id)
);

-- How well each sampled production text is covered by the suite, under the headline taxonomy.
CREATE TABLE IF NOT EXISTS text_coverage (
  as_of TIMESTAMP NOT NULL, -- exclusive end of the scored week, UTC
  text_hash VARCHAR NOT NULL, -- text
  cluster_id INTEGER NOT NULL, -- cluster under the headline taxonomy
  gap_score DOUBLE NOT NULL, -- belief that the text lies in a gap, 0..1: higher = less covered; comparable within one as_of
  in_gap BOOLEAN NOT NULL, -- the score is above a cut that suites drawn from production rarely reach
  map_x DOUBLE, -- position on the taxonomy's 2-D map
  map_y DOUBLE, -- position on the taxonomy's 2-D map
  PRIMARY KEY (as_of, text_hash)
);

-- Where each active eval case lies, under the headline taxonomy.
CREATE TABLE IF NOT EXISTS eval_coverage (
  as_of TIMESTAMP NOT NULL, -- exclusive end of the scored week, UTC
  case_id VARCHAR NOT NULL, -- eval case
  text_hash VARCHAR, -- its last user message, see texts; NULL where there is none
  cluster_id INTEGER NOT NULL, -- cluster under the headline taxonomy; -1 = novel
  map_x DOUBLE, -- position on the taxonomy's 2-D map, as in text_coverage; NULL without a text
  map_y DOUBLE, -- position on the taxonomy's 2-D map
  PRIMARY KEY (as_of, case_id)
);
