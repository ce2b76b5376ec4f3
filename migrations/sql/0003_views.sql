-- New columns come last: what was written against a view goes on as it was.
CREATE OR REPLACE VIEW cascade.answers AS
SELECT j.name AS job, a.row_no, r.custom_id, t.name AS tier, t.model, a.text AS answer, a.value,
       a.passed, a.error, a.finish_reason, a.finish_reason = 'length' AS truncated,
       a.input_tokens, a.cached_input_tokens, a.output_tokens, a.reasoning_tokens,
       cascade.usd(a.cost_nanousd) AS cost_usd, a.cost_nanousd, a.latency_ms,
       a.logprob_mean, a.logprob_min, a.logprob_sum, a.label_logprob, a.answered_at,
       a.sample_no, a.matches_gold, a.signals
  FROM cascade_store.answer a
  JOIN cascade_store.job j USING (job_id)
  JOIN cascade_store.job_tier t USING (job_id, tier_no)
  JOIN cascade_store.row r USING (job_id, row_no);

CREATE OR REPLACE VIEW cascade.calls_by_tier AS
SELECT j.name AS job, t.tier_no, t.name AS tier, t.model, t.calls, t.answers, t.escalated,
       t.refused_rows, t.lost_calls, t.input_tokens, t.output_tokens,
       cascade.usd(t.spent_nanousd) AS spent_usd, t.stopped, t.verdicts
  FROM cascade_store.job_tier t JOIN cascade_store.job j USING (job_id);

CREATE VIEW cascade.verdicts AS
SELECT j.name AS job, v.row_no, r.custom_id, t.name AS tier, g.name AS judge, v.passed, v.probability,
       v.text AS verdict, v.error, v.input_tokens, v.cached_input_tokens, v.output_tokens,
       v.reasoning_tokens, cascade.usd(v.cost_nanousd) AS cost_usd, v.cost_nanousd, v.latency_ms,
       v.judged_at
  FROM cascade_store.verdict v
  JOIN cascade_store.job j USING (job_id)
  JOIN cascade_store.job_tier t USING (job_id, tier_no)
  JOIN cascade_store.row r USING (job_id, row_no)
  JOIN cascade_store.job_tier g ON g.job_id = v.job_id AND g.tier_no = v.judge_tier_no;

-- The answer that stands: what the planner chose; until it chose, the dearest tier's that fits. Only first
-- answers stand; what further samples and verdicts cost is part of the row's cost all the same.
-- A choice without a tier is a failure, unless an answer came since.
CREATE OR REPLACE FUNCTION cascade_store.standing(p_job integer)
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
           (coalesce(best.cost_nanousd, 0) + coalesce((
               SELECT sum(v.cost_nanousd) FROM cascade_store.verdict v
                WHERE v.job_id = p_job AND v.row_no = r.row_no), 0))::bigint,
           CASE WHEN best.tier_no IS NOT NULL THEN best.error ELSE c.error END
      FROM cascade_store.row r
      LEFT JOIN cascade_store.choice c ON c.job_id = p_job AND c.row_no = r.row_no
      LEFT JOIN LATERAL (
          SELECT a.tier_no, a.text, a.value, a.passed, a.error,
                 sum(a.cost_nanousd) OVER () AS cost_nanousd
            FROM cascade_store.answer a
           WHERE a.job_id = p_job AND a.row_no = r.row_no
           ORDER BY (a.sample_no = 0) DESC, (a.tier_no = c.tier_no) DESC NULLS LAST,
                    (a.value IS NOT NULL) DESC, a.tier_no DESC
           LIMIT 1) best ON true
     WHERE r.job_id = p_job
$$;
