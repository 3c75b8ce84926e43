-- What judges (models that pass or fail answers) said, one row per answer and version of a judge.
CREATE TABLE IF NOT EXISTS judge_verdicts (
  item_id VARCHAR NOT NULL, -- the answer: a trace id, a task id, or any id that labels use too
  judge_id VARCHAR NOT NULL, -- judge
  judge_model VARCHAR NOT NULL, -- model that judged; empty where it was not stated, as below
  prompt_version VARCHAR NOT NULL, -- version of its prompt
  rubric_version VARCHAR NOT NULL, -- version of the rubric
  case_id VARCHAR, -- eval case that the answer is to; NULL for production
  category VARCHAR, -- of the answer
  passed BOOLEAN NOT NULL, -- the verdict
  output VARCHAR, -- the answer, redacted
  model VARCHAR, -- model that answered
  "at" TIMESTAMP NOT NULL, -- when it was judged, UTC; the import's time where not stated
  PRIMARY KEY (item_id, judge_id, judge_model, prompt_version, rubric_version)
);

-- Certificates: human labels against the verdicts of each version of a judge, by category and week. Shares and rates are 0..1, intervals 95 %.
CREATE TABLE IF NOT EXISTS judge_calibration (
  judge_id VARCHAR NOT NULL, -- judge
  judge_model VARCHAR, -- model that judged; NULL where it was not stated, as below
  prompt_version VARCHAR, -- version of its prompt
  rubric_version VARCHAR, -- version of the rubric
  category VARCHAR NOT NULL, -- of the answers
  calibrated_at TIMESTAMP NOT NULL, -- exclusive end of the week up to which labels and verdicts were seen, UTC
  verdict VARCHAR NOT NULL, -- INSUFFICIENT, REFUSED, TREND_ONLY or GATE
  reason VARCHAR NOT NULL, -- why, in words
  what_would_change_it VARCHAR, -- how many labels, of which answers; NULL for GATE
  notes VARCHAR, -- what was left out; NULL where nothing was
  basis VARCHAR, -- how the labels were drawn, and so what the figures rest on
  n_judged BIGINT NOT NULL, -- answers with a verdict
  n_labelled BIGINT NOT NULL, -- of them, those that people settled
  n BIGINT NOT NULL, -- labels that the figures rest on
  n_pass BIGINT NOT NULL, -- of them, those that people pass
  n_fail BIGINT NOT NULL, -- of them, those that people fail
  n_disputed BIGINT NOT NULL, -- left out: raters disagree, nobody has adjudicated
  n_unjudged BIGINT NOT NULL, -- labelled items of the category that this version has not judged
  n_double BIGINT NOT NULL, -- answers that two people labelled independently
  agreement DOUBLE, -- share of labels that the judge agrees with
  agreement_low DOUBLE, -- lower end of its interval (Wilson)
  agreement_high DOUBLE, -- upper end
  prevalence DOUBLE, -- share that people fail
  prevalence_low DOUBLE, -- lower end of its interval
  prevalence_high DOUBLE, -- upper end
  kappa DOUBLE, -- Cohen's kappa
  kappa_low DOUBLE, -- lower end of its interval
  kappa_high DOUBLE, -- upper end
  mcc DOUBLE, -- Matthews correlation coefficient
  mcc_low DOUBLE, -- lower end of its interval
  mcc_high DOUBLE, -- upper end
  tpr DOUBLE, -- share of good answers that the judge passes
  tpr_low DOUBLE, -- lower end of its interval
  tpr_high DOUBLE, -- upper end
  tnr DOUBLE, -- share of bad answers that the judge fails
  tnr_low DOUBLE, -- lower end of its interval
  tnr_high DOUBLE, -- upper end
  human_agreement DOUBLE, -- share of doubly labelled answers that two people agree about
  human_agreement_low DOUBLE, -- lower end of its interval (Wilson)
  human_agreement_high DOUBLE, -- upper end
  human_kappa DOUBLE, -- their kappa
  human_kappa_low DOUBLE, -- lower end of its interval
  human_kappa_high DOUBLE, -- upper end
  people_rate DOUBLE, -- pass rate by people's labels alone
  people_rate_low DOUBLE, -- lower end of its interval
  people_rate_high DOUBLE, -- upper end
  corrected_rate DOUBLE, -- pass rate of all judged answers, corrected for the judge's errors; NULL where none may be published
  corrected_low DOUBLE, -- lower end of its interval
  corrected_high DOUBLE, -- upper end
  corrected_reason VARCHAR, -- how it was corrected, or why there is none
  leniency DOUBLE, -- false accepts less false rejects, as a share of the labels
  leniency_p DOUBLE, -- McNemar's exact p-value of the same
  verbosity_slope DOUBLE, -- change of the log odds to pass per doubling of the answer's characters, beside people's verdict
  verbosity_slope_low DOUBLE, -- lower end of its interval
  verbosity_slope_high DOUBLE, -- upper end
  verbosity_slope_reason VARCHAR, -- why there is none
  hedging_slope DOUBLE, -- the same of answers that hedge
  hedging_slope_low DOUBLE, -- lower end of its interval
  hedging_slope_high DOUBLE, -- upper end
  hedging_slope_reason VARCHAR, -- why there is none
  same_family_slope DOUBLE, -- the same of answers by a model of the judge's family
  same_family_slope_low DOUBLE, -- lower end of its interval
  same_family_slope_high DOUBLE, -- upper end
  same_family_slope_reason VARCHAR -- why there is none
);

-- The answers whose labels would help the newest certificates most, the most helpful first.
CREATE TABLE IF NOT EXISTS judge_top_up (
  calibrated_at TIMESTAMP NOT NULL, -- certificates that it serves
  rank BIGINT NOT NULL, -- from 1
  item_id VARCHAR NOT NULL, -- the answer, see judge_verdicts
  task_id VARCHAR, -- its task in annotation_queue; NULL where it was not queued
  judge_id VARCHAR NOT NULL, -- judge whose certificate it serves
  category VARCHAR NOT NULL, -- of the answer
  ask VARCHAR NOT NULL, -- first label, or that of a second person
  selection VARCHAR, -- how it was drawn: by_verdict; NULL for a second label
  inclusion_probability DOUBLE, -- chance with which it was drawn from the unlabelled answers with the same verdict; NULL for a second label
  reason VARCHAR NOT NULL, -- what it is for
  PRIMARY KEY (calibrated_at, item_id)
);
