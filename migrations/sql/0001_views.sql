-- The public views: documented in the README, changed only with a migration and a changelog entry.
CREATE FUNCTION cascade.usd(nanousd bigint) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT nanousd::numeric / 1000000000 $$;

CREATE VIEW cascade.jobs AS
SELECT j.name AS job, j.state AS status, j.reason, j.rows_total,
       coalesce(t.answered, 0) AS rows_answered, j.rows_failed,
       j.rows_total - coalesce(t.answered, 0) - j.rows_failed AS rows_pending,
       cascade.usd(b.budget_nanousd) AS budget_usd, cascade.usd(b.spent_nanousd) AS spent_usd,
       cascade.usd(b.reserved_nanousd) AS reserved_usd, cascade.usd(b.at_risk_nanousd) AS at_risk_usd,
       cascade.usd(b.overrun_nanousd) AS overrun_usd, j.quality, j.waves,
       j.created_at, j.started_at, j.finished_at, j.spec
  FROM cascade_store.job j
  JOIN cascade_store.balance b USING (job_id)
  LEFT JOIN (SELECT job_id, sum(first_answers)::bigint AS answered
               FROM cascade_store.job_tier GROUP BY job_id) t USING (job_id);

CREATE VIEW cascade.rows AS
SELECT j.name AS job, r.row_no, r.custom_id, r.line_no, r.input, r.gold
  FROM cascade_store.row r JOIN cascade_store.job j USING (job_id);

CREATE VIEW cascade.answers AS
SELECT j.name AS job, a.row_no, r.custom_id, t.name AS tier, t.model, a.text AS answer, a.value,
       a.passed, a.error, a.finish_reason, a.finish_reason = 'length' AS truncated,
       a.input_tokens, a.cached_input_tokens, a.output_tokens, a.reasoning_tokens,
       cascade.usd(a.cost_nanousd) AS cost_usd, a.cost_nanousd, a.latency_ms,
       a.logprob_mean, a.logprob_min, a.logprob_sum, a.label_logprob, a.answered_at
  FROM cascade_store.answer a
  JOIN cascade_store.job j USING (job_id)
  JOIN cascade_store.job_tier t USING (job_id, tier_no)
  JOIN cascade_store.row r USING (job_id, row_no);

CREATE VIEW cascade.calls_by_tier AS
SELECT j.name AS job, t.tier_no, t.name AS tier, t.model, t.calls, t.answers, t.escalated,
       t.refused_rows, t.lost_calls, t.input_tokens, t.output_tokens,
       cascade.usd(t.spent_nanousd) AS spent_usd, t.stopped
  FROM cascade_store.job_tier t JOIN cascade_store.job j USING (job_id);

CREATE VIEW cascade.ledger AS
SELECT e.entry_id, j.name AS job, e.at, e.kind, t.name AS tier, e.chunk_id, e.calls,
       cascade.usd(e.budget_nanousd) AS budget_usd, cascade.usd(e.spent_nanousd) AS spent_usd,
       cascade.usd(e.reserved_nanousd) AS reserved_usd, cascade.usd(e.at_risk_nanousd) AS at_risk_usd,
       cascade.usd(e.overrun_nanousd) AS overrun_usd, e.reason, e.actor
  FROM cascade_store.entry e
  JOIN cascade_store.job j USING (job_id)
  LEFT JOIN cascade_store.job_tier t USING (job_id, tier_no);

-- The answer that stands: what the planner chose; until it chose, the dearest tier's that fits.
-- A choice without a tier is a failure, unless an answer came since.
CREATE FUNCTION cascade_store.standing(p_job integer)
RETURNS TABLE (
    row_no integer, custom_id text, line_no integer, input jsonb, gold text, status text,
    answer text, value jsonb, tier_no smallint, passed boolean, quality real, cost_nanousd bigint,
    error text
) LANGUAGE sql STABLE ROWS 100000 AS $$
    SELECT r.row_no, r.custom_id, r.line_no, r.input, r.gold,
           CASE WHEN best.tier_no IS NOT NULL THEN 'answered'
                WHEN c.row_no IS NOT NULL THEN 'failed' ELSE 'pending' END,
           best.text, best.value, best.tier_no, best.passed,
           CASE WHEN best.tier_no = c.tier_no THEN c.quality END,
           coalesce(best.cost_nanousd, 0)::bigint,
           CASE WHEN best.tier_no IS NOT NULL THEN best.error ELSE c.error END
      FROM cascade_store.row r
      LEFT JOIN cascade_store.choice c ON c.job_id = p_job AND c.row_no = r.row_no
      LEFT JOIN LATERAL (
          SELECT a.tier_no, a.text, a.value, a.passed, a.error,
                 sum(a.cost_nanousd) OVER () AS cost_nanousd
            FROM cascade_store.answer a
           WHERE a.job_id = p_job AND a.row_no = r.row_no
           ORDER BY (a.tier_no = c.tier_no AND a.sample_no = c.sample_no) DESC NULLS LAST,
                    (a.value IS NOT NULL) DESC, a.tier_no DESC
           LIMIT 1) best ON true
     WHERE r.job_id = p_job
$$;

CREATE VIEW cascade.results AS
SELECT j.name AS job, s.row_no, s.custom_id, s.status, s.answer, s.value, t.name AS tier,
       s.quality, cascade.usd(s.cost_nanousd) AS cost_usd, s.error, s.passed
  FROM cascade_store.job j
 CROSS JOIN LATERAL cascade_store.standing(j.job_id) s
  LEFT JOIN cascade_store.job_tier t ON t.job_id = j.job_id AND t.tier_no = s.tier_no;
