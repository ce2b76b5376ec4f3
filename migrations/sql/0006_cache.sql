-- Answers that need not be bought: to questions that another row of the job asks as well, and to those that
-- an earlier job asked.

-- request_key: 16 bytes for each form in which tiers are asked about the row, a hash of all that a request says
-- of the row. Null where it does not tell (pictures by address), in jobs that don't want it, and in older ones.
ALTER TABLE cascade_store.row ADD COLUMN request_key bytea;

-- saved_nanousd: null for what this job bought. Else nothing was paid for it, and it is what it cost when it
-- was bought: by an earlier job, or for the row that this one follows.
ALTER TABLE cascade_store.answer ADD COLUMN saved_nanousd bigint;

-- key_no: which 16 bytes of its rows' request keys are about this tier's requests. fingerprint: a hash of all
-- else that determines its answers; null: they are not kept for others. cached: answers that it was not asked for.
ALTER TABLE cascade_store.job_tier
    ADD COLUMN key_no smallint NOT NULL DEFAULT 0,
    ADD COLUMN fingerprint bytea,
    ADD COLUMN cached bigint NOT NULL DEFAULT 0;
CREATE INDEX job_tier_fingerprint_idx ON cascade_store.job_tier (fingerprint)
    WHERE fingerprint IS NOT NULL;

ALTER TABLE cascade_store.job
    ADD COLUMN saved_nanousd bigint NOT NULL DEFAULT 0,
    ADD COLUMN rows_duplicate integer NOT NULL DEFAULT 0;

-- A row that asks what an earlier row of its job asks: it is never asked itself, and gets that one's answer
-- when the job finishes.
CREATE TABLE cascade_store.follower (
    job_id integer NOT NULL,
    row_no integer NOT NULL,
    leader_no integer NOT NULL,
    CONSTRAINT follower_pkey PRIMARY KEY (job_id, row_no)
) PARTITION BY LIST (job_id);

-- Jobs that are there already get their part, as every job to come does when it is submitted.
DO $$
DECLARE
    v_job integer;
BEGIN
    FOR v_job IN SELECT job_id FROM cascade_store.job LOOP
        EXECUTE 'CREATE TABLE cascade_store.follower_' || v_job
             || ' PARTITION OF cascade_store.follower FOR VALUES IN (' || v_job || ')';
    END LOOP;
END $$;

-- New columns come last: what was written against a view goes on as it was.
CREATE OR REPLACE VIEW cascade.jobs AS
SELECT j.name AS job, j.state AS status, j.reason, j.rows_total,
       coalesce(t.answered, 0) AS rows_answered, j.rows_failed,
       j.rows_total - coalesce(t.answered, 0) - j.rows_failed AS rows_pending,
       cascade.usd(b.budget_nanousd) AS budget_usd, cascade.usd(b.spent_nanousd) AS spent_usd,
       cascade.usd(b.reserved_nanousd) AS reserved_usd, cascade.usd(b.at_risk_nanousd) AS at_risk_usd,
       cascade.usd(b.overrun_nanousd) AS overrun_usd, j.quality, j.waves,
       j.created_at, j.started_at, j.finished_at, j.spec,
       cascade.usd(j.saved_nanousd) AS saved_usd, j.rows_duplicate
  FROM cascade_store.job j
  JOIN cascade_store.balance b USING (job_id)
  LEFT JOIN (SELECT job_id, sum(first_answers)::bigint AS answered
               FROM cascade_store.job_tier GROUP BY job_id) t USING (job_id);

CREATE OR REPLACE VIEW cascade.answers AS
SELECT j.name AS job, a.row_no, r.custom_id, t.name AS tier, t.model, a.text AS answer, a.value,
       a.passed, a.error, a.finish_reason, a.finish_reason = 'length' AS truncated,
       a.input_tokens, a.cached_input_tokens, a.output_tokens, a.reasoning_tokens,
       cascade.usd(a.cost_nanousd) AS cost_usd, a.cost_nanousd, a.latency_ms,
       a.logprob_mean, a.logprob_min, a.logprob_sum, a.label_logprob, a.answered_at,
       a.sample_no, a.matches_gold, a.signals, cascade.usd(a.saved_nanousd) AS saved_usd
  FROM cascade_store.answer a
  JOIN cascade_store.job j USING (job_id)
  JOIN cascade_store.job_tier t USING (job_id, tier_no)
  JOIN cascade_store.row r USING (job_id, row_no);

CREATE OR REPLACE VIEW cascade.calls_by_tier AS
SELECT j.name AS job, t.tier_no, t.name AS tier, t.model, t.calls, t.answers, t.escalated,
       t.refused_rows, t.lost_calls, t.input_tokens, t.output_tokens,
       cascade.usd(t.spent_nanousd) AS spent_usd, t.stopped, t.verdicts, t.cached
  FROM cascade_store.job_tier t JOIN cascade_store.job j USING (job_id);
