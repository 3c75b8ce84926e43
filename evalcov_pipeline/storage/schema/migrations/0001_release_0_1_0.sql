-- The tables of version 1, as release 0.1.0 defined them.

CREATE TABLE annotation_queue (
  task_id VARCHAR NOT NULL PRIMARY KEY,
  plan_id VARCHAR,
  batch_id VARCHAR,
  purpose VARCHAR NOT NULL,
  item_id VARCHAR,
  incident_id VARCHAR,
  selection VARCHAR,
  inclusion_probability DOUBLE,
  text VARCHAR NOT NULL,
  text_hash VARCHAR NOT NULL,
  context VARCHAR,
  answer VARCHAR,
  tools VARCHAR[],
  outcome VARCHAR,
  cluster_id INTEGER,
  cluster_key VARCHAR,
  cluster_label VARCHAR,
  category VARCHAR,
  reason VARCHAR NOT NULL,
  source VARCHAR,
  trace_id VARCHAR,
  turn_index BIGINT,
  designed BOOLEAN NOT NULL,
  status VARCHAR NOT NULL,
  route VARCHAR NOT NULL,
  priority DOUBLE NOT NULL,
  raters_wanted BIGINT NOT NULL,
  suggestion VARCHAR,
  case_id VARCHAR,
  merged_at TIMESTAMP,
  created_at TIMESTAMP NOT NULL,
  resolved_at TIMESTAMP
);

CREATE TABLE annotations (
  task_id VARCHAR NOT NULL,
  rater VARCHAR NOT NULL,
  keep BOOLEAN NOT NULL,
  passed BOOLEAN,
  expected VARCHAR,
  category VARCHAR,
  note VARCHAR,
  first_at TIMESTAMP NOT NULL,
  "at" TIMESTAMP NOT NULL,
  via VARCHAR NOT NULL,
  PRIMARY KEY (task_id, rater)
);

CREATE TABLE annotation_events (
  event_id BIGINT NOT NULL PRIMARY KEY,
  task_id VARCHAR NOT NULL,
  rater VARCHAR NOT NULL,
  withdrawn BOOLEAN NOT NULL,
  keep BOOLEAN,
  passed BOOLEAN,
  expected VARCHAR,
  category VARCHAR,
  note VARCHAR,
  "at" TIMESTAMP NOT NULL,
  recorded_at TIMESTAMP NOT NULL,
  via VARCHAR NOT NULL
);

CREATE TABLE coverage_scores (
  as_of TIMESTAMP NOT NULL,
  taxonomy_id VARCHAR NOT NULL,
  headline BOOLEAN NOT NULL,
  window_start TIMESTAMP NOT NULL,
  window_end TIMESTAMP NOT NULL,
  n_sessions BIGINT NOT NULL,
  n_production BIGINT NOT NULL,
  n_unassigned BIGINT NOT NULL,
  n_eff DOUBLE,
  n_eval BIGINT NOT NULL,
  n_clusters BIGINT NOT NULL,
  jsd DOUBLE,
  jsd_adjusted DOUBLE,
  jsd_ci_low DOUBLE,
  jsd_ci_high DOUBLE,
  null_mean DOUBLE,
  null_p95 DOUBLE,
  p_value DOUBLE,
  attainable_jsd DOUBLE,
  covered_share DOUBLE,
  unmeasured_share DOUBLE,
  novel_share DOUBLE,
  truncated_share DOUBLE,
  band VARCHAR,
  degraded BOOLEAN NOT NULL,
  liabilities VARCHAR[] NOT NULL,
  cases_to_settle BIGINT,
  verdict VARCHAR NOT NULL,
  eval_run_id VARCHAR,
  judge_id VARCHAR,
  judge_note VARCHAR,
  refused_results BIGINT,
  eval_score DOUBLE,
  reweighted_score DOUBLE,
  reweighted_low DOUBLE,
  reweighted_high DOUBLE,
  latency_ms DOUBLE,
  cost_usd DOUBLE,
  production_latency_ms DOUBLE,
  production_cost_usd DOUBLE,
  diagnosis VARCHAR,
  diagnosis_reason VARCHAR,
  PRIMARY KEY (as_of, taxonomy_id)
);

CREATE TABLE cluster_coverage (
  as_of TIMESTAMP NOT NULL,
  taxonomy_id VARCHAR NOT NULL,
  cluster_id INTEGER NOT NULL,
  cluster_key VARCHAR NOT NULL,
  label VARCHAR NOT NULL,
  production_share DOUBLE NOT NULL,
  production_share_low DOUBLE,
  production_share_high DOUBLE,
  traffic_share DOUBLE NOT NULL,
  eval_cases BIGINT NOT NULL,
  eval_share DOUBLE,
  coverage_ratio DOUBLE,
  jsd_contribution DOUBLE,
  status VARCHAR NOT NULL,
  gap_share DOUBLE,
  newest_case_at TIMESTAMP,
  stale BOOLEAN NOT NULL,
  pass_rate DOUBLE,
  n_results BIGINT NOT NULL,
  PRIMARY KEY (as_of, taxonomy_id, cluster_id)
);

CREATE TABLE text_coverage (
  as_of TIMESTAMP NOT NULL,
  text_hash VARCHAR NOT NULL,
  cluster_id INTEGER NOT NULL,
  gap_score DOUBLE NOT NULL,
  in_gap BOOLEAN NOT NULL,
  map_x DOUBLE,
  map_y DOUBLE,
  PRIMARY KEY (as_of, text_hash)
);

CREATE TABLE eval_coverage (
  as_of TIMESTAMP NOT NULL,
  case_id VARCHAR NOT NULL,
  text_hash VARCHAR,
  cluster_id INTEGER NOT NULL,
  map_x DOUBLE,
  map_y DOUBLE,
  PRIMARY KEY (as_of, case_id)
);

CREATE TABLE eval_case_events (
  event_id BIGINT NOT NULL PRIMARY KEY,
  case_id VARCHAR NOT NULL,
  event VARCHAR NOT NULL,
  "at" TIMESTAMP NOT NULL,
  actor VARCHAR NOT NULL,
  payload VARCHAR NOT NULL,
  previous_hash VARCHAR NOT NULL,
  hash VARCHAR NOT NULL
);

CREATE TABLE ledger_head (
  events BIGINT NOT NULL,
  hash VARCHAR NOT NULL
);

CREATE TABLE eval_cases (
  case_id VARCHAR NOT NULL PRIMARY KEY,
  version BIGINT NOT NULL,
  input VARCHAR NOT NULL,
  text_hash VARCHAR,
  text_hashes VARCHAR[] NOT NULL,
  n_turns BIGINT NOT NULL,
  expected VARCHAR,
  expected_tools VARCHAR[],
  outcome VARCHAR,
  category VARCHAR,
  tags VARCHAR[] NOT NULL,
  origin VARCHAR NOT NULL,
  source_ref VARCHAR,
  status VARCHAR NOT NULL,
  regression BOOLEAN NOT NULL,
  supersedes VARCHAR,
  designed BOOLEAN NOT NULL,
  plan_id VARCHAR,
  batch_id VARCHAR,
  incident_id VARCHAR,
  raters VARCHAR[],
  created_at TIMESTAMP,
  effective_at TIMESTAMP NOT NULL,
  imported_at TIMESTAMP NOT NULL
);

CREATE TABLE eval_case_versions (
  case_id VARCHAR NOT NULL,
  version BIGINT NOT NULL,
  input VARCHAR NOT NULL,
  text_hash VARCHAR,
  text_hashes VARCHAR[] NOT NULL,
  n_turns BIGINT NOT NULL,
  expected VARCHAR,
  expected_tools VARCHAR[],
  outcome VARCHAR,
  category VARCHAR,
  tags VARCHAR[] NOT NULL,
  origin VARCHAR NOT NULL,
  source_ref VARCHAR,
  status VARCHAR NOT NULL,
  regression BOOLEAN NOT NULL,
  supersedes VARCHAR,
  designed BOOLEAN NOT NULL,
  plan_id VARCHAR,
  batch_id VARCHAR,
  incident_id VARCHAR,
  raters VARCHAR[],
  created_at TIMESTAMP,
  effective_at TIMESTAMP NOT NULL,
  imported_at TIMESTAMP NOT NULL,
  valid_from TIMESTAMP NOT NULL,
  valid_to TIMESTAMP,
  PRIMARY KEY (case_id, version)
);

CREATE TABLE eval_results (
  run_id VARCHAR NOT NULL,
  case_id VARCHAR NOT NULL,
  repeat BIGINT NOT NULL,
  passed BOOLEAN,
  score DOUBLE,
  latency_ms DOUBLE,
  cost_usd DOUBLE,
  judge_id VARCHAR,
  "at" TIMESTAMP NOT NULL,
  system_version VARCHAR,
  model VARCHAR,
  category VARCHAR,
  output VARCHAR,
  variant VARCHAR,
  PRIMARY KEY (run_id, case_id, repeat)
);

CREATE TABLE eval_runs (
  run_id VARCHAR NOT NULL PRIMARY KEY,
  finished_at TIMESTAMP NOT NULL,
  n_cases BIGINT NOT NULL,
  n_active BIGINT NOT NULL,
  complete BOOLEAN NOT NULL,
  pass_rate DOUBLE,
  latency_ms DOUBLE,
  cost_usd DOUBLE,
  judge_id VARCHAR,
  system_version VARCHAR,
  model VARCHAR,
  variant VARCHAR
);

CREATE TABLE failure_signals (
  as_of TIMESTAMP NOT NULL,
  source VARCHAR NOT NULL,
  trace_id VARCHAR NOT NULL,
  turn_index BIGINT NOT NULL,
  signal VARCHAR NOT NULL,
  session_id VARCHAR NOT NULL,
  started_at TIMESTAMP NOT NULL,
  strength DOUBLE NOT NULL,
  evidence VARCHAR NOT NULL,
  threshold DOUBLE,
  text_hash VARCHAR,
  PRIMARY KEY (source, trace_id, turn_index, signal)
);

CREATE TABLE signal_thresholds (
  as_of TIMESTAMP NOT NULL,
  source VARCHAR NOT NULL,
  signal VARCHAR NOT NULL,
  threshold DOUBLE,
  n BIGINT NOT NULL,
  reason VARCHAR NOT NULL,
  PRIMARY KEY (as_of, source, signal)
);

CREATE TABLE failure_batches (
  batch_id VARCHAR NOT NULL PRIMARY KEY,
  as_of TIMESTAMP NOT NULL,
  size BIGINT NOT NULL,
  n_turns BIGINT NOT NULL,
  n_signalled BIGINT NOT NULL,
  n_near_duplicates BIGINT NOT NULL,
  exploration_share DOUBLE NOT NULL,
  random_share DOUBLE NOT NULL,
  signals VARCHAR NOT NULL,
  note VARCHAR,
  created_at TIMESTAMP NOT NULL
);

CREATE TABLE failure_picks (
  batch_id VARCHAR NOT NULL,
  task_id VARCHAR NOT NULL,
  source VARCHAR NOT NULL,
  trace_id VARCHAR NOT NULL,
  turn_index BIGINT NOT NULL,
  text_hash VARCHAR NOT NULL,
  signals VARCHAR[] NOT NULL,
  inclusion_probability DOUBLE NOT NULL,
  PRIMARY KEY (batch_id, task_id)
);

CREATE TABLE signal_precision (
  as_of TIMESTAMP NOT NULL,
  signal VARCHAR NOT NULL,
  n_signals BIGINT NOT NULL,
  n_labelled BIGINT NOT NULL,
  n_bad BIGINT NOT NULL,
  precision DOUBLE,
  precision_low DOUBLE,
  precision_high DOUBLE,
  PRIMARY KEY (as_of, signal)
);

CREATE TABLE failure_audit (
  quarter VARCHAR NOT NULL,
  category VARCHAR NOT NULL,
  rank BIGINT NOT NULL,
  observed BIGINT NOT NULL,
  labelled BIGINT NOT NULL,
  assigned BIGINT NOT NULL,
  incidents BIGINT NOT NULL,
  rate DOUBLE,
  rate_low DOUBLE,
  rate_high DOUBLE,
  eval_cases BIGINT NOT NULL,
  regression_cases BIGINT NOT NULL,
  newest_case_at TIMESTAMP,
  last_failed_at TIMESTAMP,
  status VARCHAR NOT NULL,
  reason VARCHAR NOT NULL,
  as_of TIMESTAMP NOT NULL,
  PRIMARY KEY (quarter, category)
);

CREATE TABLE incidents (
  incident_id VARCHAR NOT NULL PRIMARY KEY,
  title VARCHAR NOT NULL,
  "at" TIMESTAMP,
  category VARCHAR,
  severity VARCHAR,
  postmortem VARCHAR,
  trace_ids VARCHAR[] NOT NULL,
  case_ids VARCHAR[] NOT NULL,
  cases_wanted BIGINT NOT NULL,
  coverage VARCHAR NOT NULL,
  status VARCHAR NOT NULL,
  version BIGINT NOT NULL,
  first_recorded_at TIMESTAMP NOT NULL,
  recorded_at TIMESTAMP NOT NULL
);

CREATE TABLE incident_events (
  event_id BIGINT NOT NULL PRIMARY KEY,
  incident_id VARCHAR NOT NULL,
  recorded_at TIMESTAMP NOT NULL,
  payload VARCHAR NOT NULL,
  previous_hash VARCHAR NOT NULL,
  hash VARCHAR NOT NULL
);

CREATE TABLE incident_head (
  events BIGINT NOT NULL,
  hash VARCHAR NOT NULL
);

CREATE TABLE judge_verdicts (
  item_id VARCHAR NOT NULL,
  judge_id VARCHAR NOT NULL,
  judge_model VARCHAR NOT NULL,
  prompt_version VARCHAR NOT NULL,
  rubric_version VARCHAR NOT NULL,
  case_id VARCHAR,
  category VARCHAR,
  passed BOOLEAN NOT NULL,
  output VARCHAR,
  model VARCHAR,
  "at" TIMESTAMP NOT NULL,
  PRIMARY KEY (item_id, judge_id, judge_model, prompt_version, rubric_version)
);

CREATE TABLE judge_calibration (
  judge_id VARCHAR NOT NULL,
  judge_model VARCHAR,
  prompt_version VARCHAR,
  rubric_version VARCHAR,
  category VARCHAR NOT NULL,
  calibrated_at TIMESTAMP NOT NULL,
  verdict VARCHAR NOT NULL,
  reason VARCHAR NOT NULL,
  what_would_change_it VARCHAR,
  notes VARCHAR,
  basis VARCHAR,
  n_judged BIGINT NOT NULL,
  n_labelled BIGINT NOT NULL,
  n BIGINT NOT NULL,
  n_pass BIGINT NOT NULL,
  n_fail BIGINT NOT NULL,
  n_disputed BIGINT NOT NULL,
  n_unjudged BIGINT NOT NULL,
  n_double BIGINT NOT NULL,
  agreement DOUBLE,
  agreement_low DOUBLE,
  agreement_high DOUBLE,
  prevalence DOUBLE,
  prevalence_low DOUBLE,
  prevalence_high DOUBLE,
  kappa DOUBLE,
  kappa_low DOUBLE,
  kappa_high DOUBLE,
  mcc DOUBLE,
  mcc_low DOUBLE,
  mcc_high DOUBLE,
  tpr DOUBLE,
  tpr_low DOUBLE,
  tpr_high DOUBLE,
  tnr DOUBLE,
  tnr_low DOUBLE,
  tnr_high DOUBLE,
  human_agreement DOUBLE,
  human_agreement_low DOUBLE,
  human_agreement_high DOUBLE,
  human_kappa DOUBLE,
  human_kappa_low DOUBLE,
  human_kappa_high DOUBLE,
  people_rate DOUBLE,
  people_rate_low DOUBLE,
  people_rate_high DOUBLE,
  corrected_rate DOUBLE,
  corrected_low DOUBLE,
  corrected_high DOUBLE,
  corrected_reason VARCHAR,
  leniency DOUBLE,
  leniency_p DOUBLE,
  verbosity_slope DOUBLE,
  verbosity_slope_low DOUBLE,
  verbosity_slope_high DOUBLE,
  verbosity_slope_reason VARCHAR,
  hedging_slope DOUBLE,
  hedging_slope_low DOUBLE,
  hedging_slope_high DOUBLE,
  hedging_slope_reason VARCHAR,
  same_family_slope DOUBLE,
  same_family_slope_low DOUBLE,
  same_family_slope_high DOUBLE,
  same_family_slope_reason VARCHAR
);

CREATE TABLE judge_top_up (
  calibrated_at TIMESTAMP NOT NULL,
  rank BIGINT NOT NULL,
  item_id VARCHAR NOT NULL,
  task_id VARCHAR,
  judge_id VARCHAR NOT NULL,
  category VARCHAR NOT NULL,
  ask VARCHAR NOT NULL,
  selection VARCHAR,
  inclusion_probability DOUBLE,
  reason VARCHAR NOT NULL,
  PRIMARY KEY (calibrated_at, item_id)
);

CREATE TABLE refresh_plans (
  plan_id VARCHAR NOT NULL PRIMARY KEY,
  as_of TIMESTAMP NOT NULL,
  taxonomy_id VARCHAR NOT NULL,
  trigger VARCHAR NOT NULL,
  reason VARCHAR NOT NULL,
  budget BIGINT NOT NULL,
  target DOUBLE,
  n_candidates BIGINT,
  n_sessions BIGINT,
  n_kept BIGINT,
  keep_rate DOUBLE,
  targets VARCHAR NOT NULL,
  curve VARCHAR,
  note VARCHAR,
  jsd_before DOUBLE,
  jsd_projected DOUBLE,
  jsd_after DOUBLE,
  session_jsd_before DOUBLE,
  session_jsd_projected DOUBLE,
  session_jsd_after DOUBLE,
  after_as_of TIMESTAMP,
  created_at TIMESTAMP NOT NULL
);

CREATE TABLE refresh_candidates (
  plan_id VARCHAR NOT NULL,
  text_hash VARCHAR NOT NULL,
  task_id VARCHAR NOT NULL,
  unit VARCHAR,
  session_cluster_key VARCHAR,
  rank BIGINT NOT NULL,
  cluster_id INTEGER NOT NULL,
  cluster_key VARCHAR NOT NULL,
  pool VARCHAR NOT NULL,
  inclusion_probability DOUBLE,
  reason VARCHAR NOT NULL,
  gap_score DOUBLE,
  steady_weight DOUBLE NOT NULL,
  source VARCHAR NOT NULL,
  session_id VARCHAR NOT NULL,
  trace_id VARCHAR NOT NULL,
  turn_index BIGINT NOT NULL,
  status VARCHAR NOT NULL,
  PRIMARY KEY (plan_id, text_hash)
);

CREATE TABLE trace_sample (
  as_of TIMESTAMP NOT NULL,
  source VARCHAR NOT NULL,
  trace_id VARCHAR NOT NULL,
  turn_index BIGINT NOT NULL,
  session_id VARCHAR NOT NULL,
  started_at TIMESTAMP NOT NULL,
  stratum VARCHAR NOT NULL,
  inclusion_probability DOUBLE NOT NULL,
  traffic_weight DOUBLE NOT NULL,
  steady_weight DOUBLE NOT NULL,
  text_hash VARCHAR,
  latency_ms DOUBLE,
  cost_usd DOUBLE,
  PRIMARY KEY (as_of, source, trace_id, turn_index)
);

CREATE TABLE sample_days (
  as_of TIMESTAMP NOT NULL,
  day DATE NOT NULL,
  sessions BIGINT NOT NULL,
  cap DOUBLE,
  steady_sessions DOUBLE NOT NULL,
  spike BOOLEAN NOT NULL,
  PRIMARY KEY (as_of, day)
);

CREATE TABLE texts (
  text_hash VARCHAR NOT NULL PRIMARY KEY,
  text VARCHAR NOT NULL,
  first_seen_at TIMESTAMP
);

CREATE TABLE session_features (
  as_of TIMESTAMP NOT NULL,
  source VARCHAR NOT NULL,
  session_id VARCHAR NOT NULL,
  session_hash VARCHAR NOT NULL,
  stratum VARCHAR NOT NULL,
  traffic_weight DOUBLE NOT NULL,
  steady_weight DOUBLE NOT NULL,
  started_at TIMESTAMP,
  duration_s DOUBLE,
  n_turns BIGINT NOT NULL,
  text_hashes VARCHAR[] NOT NULL,
  tools VARCHAR[] NOT NULL,
  tools_known BOOLEAN NOT NULL,
  n_tool_calls BIGINT NOT NULL,
  n_tools BIGINT NOT NULL,
  tool_repeats BIGINT NOT NULL,
  tool_failures BIGINT,
  errors BIGINT NOT NULL,
  retries BIGINT NOT NULL,
  rephrases BIGINT,
  failed_turns BIGINT NOT NULL,
  conversation_chars BIGINT NOT NULL,
  context_first DOUBLE,
  context_last DOUBLE,
  context_max DOUBLE,
  context_slope DOUBLE,
  context_estimated BOOLEAN NOT NULL,
  latency_ms DOUBLE,
  cost_usd DOUBLE,
  outcome VARCHAR NOT NULL,
  outcome_evidence VARCHAR,
  PRIMARY KEY (as_of, source, session_id)
);

CREATE TABLE case_features (
  as_of TIMESTAMP NOT NULL,
  case_id VARCHAR NOT NULL,
  session_hash VARCHAR NOT NULL,
  n_turns BIGINT NOT NULL,
  text_hashes VARCHAR[] NOT NULL,
  tools VARCHAR[] NOT NULL,
  tools_known BOOLEAN NOT NULL,
  n_tool_calls BIGINT NOT NULL,
  n_tools BIGINT NOT NULL,
  tool_repeats BIGINT NOT NULL,
  tool_failures BIGINT,
  errors BIGINT NOT NULL,
  retries BIGINT NOT NULL,
  rephrases BIGINT,
  failed_turns BIGINT NOT NULL,
  conversation_chars BIGINT NOT NULL,
  context_first DOUBLE,
  context_last DOUBLE,
  context_max DOUBLE,
  context_slope DOUBLE,
  context_estimated BOOLEAN NOT NULL,
  outcome VARCHAR NOT NULL,
  outcome_evidence VARCHAR,
  PRIMARY KEY (as_of, case_id)
);

CREATE TABLE session_taxonomies (
  taxonomy_id VARCHAR NOT NULL PRIMARY KEY,
  fitted_at TIMESTAMP NOT NULL,
  created_at TIMESTAMP NOT NULL,
  method VARCHAR NOT NULL,
  parameters VARCHAR NOT NULL,
  n_texts BIGINT NOT NULL,
  n_clusters BIGINT NOT NULL,
  unclustered_share DOUBLE NOT NULL,
  novel_share DOUBLE NOT NULL,
  stability DOUBLE,
  embedding_fingerprint VARCHAR NOT NULL,
  previous_taxonomy_id VARCHAR,
  with_outcome BOOLEAN NOT NULL,
  note VARCHAR
);

CREATE TABLE session_clusters (
  taxonomy_id VARCHAR NOT NULL,
  cluster_id INTEGER NOT NULL,
  cluster_key VARCHAR NOT NULL,
  label VARCHAR NOT NULL,
  keywords VARCHAR[] NOT NULL,
  exemplars VARCHAR[] NOT NULL,
  size BIGINT NOT NULL,
  radius DOUBLE NOT NULL,
  PRIMARY KEY (taxonomy_id, cluster_id)
);

CREATE TABLE session_taxonomy_lineage (
  from_taxonomy VARCHAR NOT NULL,
  to_taxonomy VARCHAR NOT NULL,
  from_cluster INTEGER,
  to_cluster INTEGER,
  relation VARCHAR NOT NULL,
  overlap DOUBLE
);

CREATE TABLE session_assignments (
  taxonomy_id VARCHAR NOT NULL,
  as_of TIMESTAMP NOT NULL,
  session_hash VARCHAR NOT NULL,
  cluster_id INTEGER NOT NULL,
  similarity DOUBLE NOT NULL,
  PRIMARY KEY (taxonomy_id, as_of, session_hash)
);

CREATE TABLE session_scores (
  as_of TIMESTAMP NOT NULL,
  taxonomy_id VARCHAR NOT NULL,
  headline BOOLEAN NOT NULL,
  window_start TIMESTAMP NOT NULL,
  window_end TIMESTAMP NOT NULL,
  n_sessions BIGINT NOT NULL,
  n_production BIGINT NOT NULL,
  n_eff DOUBLE,
  n_eval BIGINT NOT NULL,
  n_multi_turn BIGINT NOT NULL,
  n_clusters BIGINT NOT NULL,
  jsd DOUBLE,
  jsd_adjusted DOUBLE,
  jsd_ci_low DOUBLE,
  jsd_ci_high DOUBLE,
  null_mean DOUBLE,
  null_p95 DOUBLE,
  p_value DOUBLE,
  attainable_jsd DOUBLE,
  covered_share DOUBLE,
  unmeasured_share DOUBLE,
  novel_share DOUBLE,
  band VARCHAR,
  degraded BOOLEAN NOT NULL,
  liabilities VARCHAR[] NOT NULL,
  cases_to_settle BIGINT,
  verdict VARCHAR NOT NULL,
  eval_run_id VARCHAR,
  judge_id VARCHAR,
  judge_note VARCHAR,
  refused_results BIGINT,
  eval_score DOUBLE,
  reweighted_score DOUBLE,
  reweighted_low DOUBLE,
  reweighted_high DOUBLE,
  diagnosis VARCHAR,
  diagnosis_reason VARCHAR,
  notes VARCHAR[] NOT NULL,
  PRIMARY KEY (as_of, taxonomy_id)
);

CREATE TABLE session_coverage (
  as_of TIMESTAMP NOT NULL,
  taxonomy_id VARCHAR NOT NULL,
  cluster_id INTEGER NOT NULL,
  cluster_key VARCHAR NOT NULL,
  label VARCHAR NOT NULL,
  production_share DOUBLE NOT NULL,
  production_share_low DOUBLE,
  production_share_high DOUBLE,
  traffic_share DOUBLE NOT NULL,
  eval_cases BIGINT NOT NULL,
  eval_share DOUBLE,
  coverage_ratio DOUBLE,
  jsd_contribution DOUBLE,
  status VARCHAR NOT NULL,
  newest_case_at TIMESTAMP,
  stale BOOLEAN NOT NULL,
  pass_rate DOUBLE,
  n_results BIGINT NOT NULL,
  success_rate DOUBLE,
  abandoned_rate DOUBLE,
  mean_turns DOUBLE,
  PRIMARY KEY (as_of, taxonomy_id, cluster_id)
);

CREATE TABLE session_traits (
  as_of TIMESTAMP NOT NULL,
  figure VARCHAR NOT NULL,
  trait VARCHAR NOT NULL,
  production_share DOUBLE NOT NULL,
  production_share_low DOUBLE,
  production_share_high DOUBLE,
  eval_cases BIGINT NOT NULL,
  eval_share DOUBLE,
  status VARCHAR NOT NULL,
  PRIMARY KEY (as_of, figure, trait)
);

CREATE TABLE sequence_scores (
  as_of TIMESTAMP NOT NULL,
  kind VARCHAR NOT NULL,
  taxonomy_id VARCHAR,
  length BIGINT NOT NULL,
  n_sessions BIGINT NOT NULL,
  n_eval BIGINT NOT NULL,
  n_ngrams BIGINT NOT NULL,
  jsd DOUBLE,
  jsd_adjusted DOUBLE,
  jsd_ci_low DOUBLE,
  jsd_ci_high DOUBLE,
  null_mean DOUBLE,
  null_p95 DOUBLE,
  p_value DOUBLE,
  order_jsd DOUBLE,
  order_adjusted DOUBLE,
  order_p_value DOUBLE,
  untested_share DOUBLE,
  note VARCHAR,
  PRIMARY KEY (as_of, kind)
);

CREATE TABLE sequence_coverage (
  as_of TIMESTAMP NOT NULL,
  kind VARCHAR NOT NULL,
  ngram VARCHAR NOT NULL,
  length BIGINT NOT NULL,
  label VARCHAR NOT NULL,
  production_share DOUBLE NOT NULL,
  production_share_low DOUBLE,
  production_share_high DOUBLE,
  eval_cases BIGINT NOT NULL,
  eval_share DOUBLE,
  jsd_contribution DOUBLE,
  status VARCHAR NOT NULL,
  minimal BOOLEAN NOT NULL,
  PRIMARY KEY (as_of, kind, ngram)
);

CREATE TABLE session_compounding (
  as_of TIMESTAMP NOT NULL,
  grouping VARCHAR NOT NULL,
  name VARCHAR NOT NULL,
  label VARCHAR NOT NULL,
  n_sessions BIGINT NOT NULL,
  n_turns BIGINT NOT NULL,
  mean_turns DOUBLE NOT NULL,
  step_success DOUBLE NOT NULL,
  step_success_low DOUBLE,
  step_success_high DOUBLE,
  predicted DOUBLE NOT NULL,
  predicted_low DOUBLE,
  predicted_high DOUBLE,
  flawless DOUBLE NOT NULL,
  flawless_low DOUBLE,
  flawless_high DOUBLE,
  observed DOUBLE,
  observed_low DOUBLE,
  observed_high DOUBLE,
  n_known BIGINT NOT NULL,
  verdict VARCHAR NOT NULL,
  PRIMARY KEY (as_of, grouping, name)
);

CREATE TABLE suggestions (
  task_id VARCHAR NOT NULL PRIMARY KEY,
  cluster_key VARCHAR NOT NULL,
  "by" VARCHAR NOT NULL,
  "use" VARCHAR NOT NULL,
  keep BOOLEAN NOT NULL,
  passed BOOLEAN,
  category VARCHAR,
  expected VARCHAR,
  confidence DOUBLE,
  neighbours VARCHAR NOT NULL,
  asked VARCHAR,
  created_at TIMESTAMP NOT NULL,
  human_keep BOOLEAN,
  human_passed BOOLEAN,
  human_category VARCHAR,
  agreed BOOLEAN,
  decided_at TIMESTAMP
);

CREATE TABLE suggestion_agreement (
  cluster_key VARCHAR NOT NULL,
  "by" VARCHAR NOT NULL,
  cluster_label VARCHAR,
  labelled BIGINT NOT NULL,
  suggested BIGINT NOT NULL,
  audited BIGINT NOT NULL,
  agreed BIGINT NOT NULL,
  agreement DOUBLE,
  agreement_low DOUBLE,
  agreement_high DOUBLE,
  state VARCHAR,
  reason VARCHAR NOT NULL,
  PRIMARY KEY (cluster_key, "by")
);

CREATE TABLE case_discrimination (
  case_id VARCHAR NOT NULL PRIMARY KEY,
  case_status VARCHAR,
  n_runs BIGINT NOT NULL,
  n_failed BIGINT NOT NULL,
  n_known_bad BIGINT NOT NULL,
  pass_rate DOUBLE,
  pass_rate_tries DOUBLE,
  flip_rate DOUBLE,
  flakiness DOUBLE,
  flaky BOOLEAN NOT NULL,
  saturated BOOLEAN,
  broken BOOLEAN,
  failing BOOLEAN NOT NULL,
  discrimination DOUBLE,
  discrimination_reason VARCHAR,
  kills BIGINT NOT NULL,
  review VARCHAR,
  unfit VARCHAR,
  last_failed_at TIMESTAMP
);

CREATE TABLE case_detection (
  case_id VARCHAR NOT NULL,
  variant VARCHAR NOT NULL,
  tries BIGINT NOT NULL,
  failed BIGINT NOT NULL,
  detection DOUBLE NOT NULL,
  PRIMARY KEY (case_id, variant)
);

CREATE TABLE goodhart_watch (
  "at" TIMESTAMP NOT NULL PRIMARY KEY,
  suite_cases BIGINT NOT NULL,
  suite_passed BIGINT NOT NULL,
  fresh_cases BIGINT NOT NULL,
  fresh_passed BIGINT NOT NULL,
  gap DOUBLE,
  gap_low DOUBLE,
  gap_high DOUBLE,
  mean_gap DOUBLE,
  gap_p_value DOUBLE,
  slope DOUBLE,
  slope_p_value DOUBLE,
  verdict VARCHAR NOT NULL
);

CREATE TABLE ci_suites (
  suite_id VARCHAR NOT NULL PRIMARY KEY,
  created_at TIMESTAMP NOT NULL,
  chosen_at TIMESTAMP NOT NULL,
  n_cases BIGINT NOT NULL,
  n_deciding BIGINT NOT NULL,
  budget_s DOUBLE NOT NULL,
  workers BIGINT NOT NULL,
  expected_s DOUBLE NOT NULL,
  detection_power DOUBLE NOT NULL,
  n_failure_modes BIGINT NOT NULL,
  weighed_by VARCHAR NOT NULL,
  left_out VARCHAR NOT NULL,
  note VARCHAR
);

CREATE TABLE ci_suite_cases (
  suite_id VARCHAR NOT NULL,
  case_id VARCHAR NOT NULL,
  version BIGINT NOT NULL,
  rank BIGINT NOT NULL,
  decides BOOLEAN NOT NULL,
  reason VARCHAR NOT NULL,
  expected_s DOUBLE NOT NULL,
  failure_mode VARCHAR,
  incident_id VARCHAR,
  pass_rate DOUBLE NOT NULL,
  pass_rate_tries DOUBLE,
  refused_judges VARCHAR[] NOT NULL,
  PRIMARY KEY (suite_id, case_id)
);

CREATE TABLE taxonomies (
  taxonomy_id VARCHAR NOT NULL PRIMARY KEY,
  fitted_at TIMESTAMP NOT NULL,
  created_at TIMESTAMP NOT NULL,
  method VARCHAR NOT NULL,
  parameters VARCHAR NOT NULL,
  n_texts BIGINT NOT NULL,
  n_clusters BIGINT NOT NULL,
  unclustered_share DOUBLE NOT NULL,
  novel_share DOUBLE NOT NULL,
  stability DOUBLE,
  embedding_fingerprint VARCHAR NOT NULL,
  previous_taxonomy_id VARCHAR
);

CREATE TABLE clusters (
  taxonomy_id VARCHAR NOT NULL,
  cluster_id INTEGER NOT NULL,
  cluster_key VARCHAR NOT NULL,
  label VARCHAR NOT NULL,
  keywords VARCHAR[] NOT NULL,
  exemplars VARCHAR[] NOT NULL,
  size BIGINT NOT NULL,
  radius DOUBLE NOT NULL,
  PRIMARY KEY (taxonomy_id, cluster_id)
);

CREATE TABLE taxonomy_lineage (
  from_taxonomy VARCHAR NOT NULL,
  to_taxonomy VARCHAR NOT NULL,
  from_cluster INTEGER,
  to_cluster INTEGER,
  relation VARCHAR NOT NULL,
  overlap DOUBLE
);

CREATE TABLE cluster_assignments (
  taxonomy_id VARCHAR NOT NULL,
  text_hash VARCHAR NOT NULL,
  cluster_id INTEGER NOT NULL,
  similarity DOUBLE NOT NULL,
  PRIMARY KEY (taxonomy_id, text_hash)
);

CREATE TABLE warehouse_schema (
  fingerprint VARCHAR
);
