"""The report's queries: each returns few rows, whatever the size of the job.

`:job` is the job's number. Only a tier's first answers (`sample_no` 0) take part in flows: a second sample is
evidence about the first.
"""

_STANDING = """
    SELECT row_no, array_agg(tier_no ORDER BY answered_at, tier_no) AS path,
           array_agg(value_key ORDER BY answered_at, tier_no) AS keys,
           array_agg(coalesce(matches_gold, passed) ORDER BY answered_at, tier_no) AS rights,
           (array_agg(cost_nanousd ORDER BY answered_at, tier_no))[1] AS first_nanousd,
           max(tier_no + CASE WHEN value IS NULL THEN 0 ELSE 1000 END) % 1000 AS best
      FROM cascade_store.answer WHERE job_id = :job AND sample_no = 0 GROUP BY row_no
"""
# As `cascade_store.standing` has it: what the planner chose; until it chose, the dearest that fits.
FLOWS = f"""
WITH held AS ({_STANDING}), placed AS (
    SELECT h.path, h.first_nanousd, h.keys, h.rights,
           CASE WHEN c.tier_no = ANY (h.path) THEN c.tier_no ELSE h.best END AS stands
      FROM held h
      LEFT JOIN cascade_store.choice c ON c.job_id = :job AND c.row_no = h.row_no
), told AS (
    SELECT path, stands, first_nanousd, keys[1] AS first_key, rights[1] AS first_right,
           keys[array_position(path, stands::smallint)] AS final_key,
           rights[array_position(path, stands::smallint)] AS final_right
      FROM placed)
SELECT path, stands, count(*) AS rows, sum(first_nanousd) AS first_nanousd,
       CASE WHEN first_key <> 0 AND final_key <> 0 THEN first_key <> final_key END AS changed,
       first_right, final_right
  FROM told GROUP BY path, stands, 5, first_right, final_right ORDER BY rows DESC, path
"""  # noqa: S608
SAMPLES = """
SELECT tier_no, sum(cost_nanousd) AS cost_nanousd
  FROM cascade_store.answer WHERE job_id = :job AND sample_no > 0 GROUP BY tier_no
"""
VERDICTS = """
SELECT judge_tier_no AS tier_no, sum(cost_nanousd) AS cost_nanousd
  FROM cascade_store.verdict WHERE job_id = :job GROUP BY judge_tier_no
"""
# Rows that were drawn at random to be asked on every tier are a fair sample; those that a plan chose are not.
FAIR = """
WITH drawn AS MATERIALIZED (
    SELECT DISTINCT row_no FROM cascade_store.decision
     WHERE job_id = :job AND action = 0 AND reason = 1
), one AS MATERIALIZED (
    SELECT a.row_no, a.tier_no, a.cost_nanousd + coalesce(a.saved_nanousd, 0) AS cost_nanousd, a.value_key,
           coalesce(a.matches_gold, a.passed, v.passed) AS is_right,
           CASE WHEN a.tier_no = ANY (CAST(:whole AS integer[])) THEN a.row_no % :every = 0
                ELSE true END AS counts
      FROM cascade_store.answer a
      LEFT JOIN cascade_store.verdict v
        ON v.job_id = :job AND v.row_no = a.row_no AND v.tier_no = a.tier_no
     WHERE a.job_id = :job AND a.sample_no = 0
       AND (a.tier_no = ANY (CAST(:whole AS integer[])) AND a.row_no % :every = 0
            OR a.row_no IN (SELECT row_no FROM drawn)))
SELECT o.tier_no, count(*) FILTER (WHERE o.counts) AS rows,
       coalesce(sum(o.cost_nanousd) FILTER (WHERE o.counts), 0) AS cost_nanousd,
       count(o.is_right) FILTER (WHERE o.counts) AS told,
       count(*) FILTER (WHERE o.counts AND o.is_right) AS right,
       count(*) FILTER (WHERE (o.counts OR d.counts) AND o.value_key <> 0 AND d.value_key <> 0)
           AS compared,
       count(*) FILTER (WHERE (o.counts OR d.counts) AND o.value_key <> 0
                          AND o.value_key = d.value_key) AS agreeing,
       o.tier_no = ANY (CAST(:whole AS integer[])) AS whole,
       (SELECT count(*) FROM drawn) AS drawn
  FROM one o LEFT JOIN one d ON d.row_no = o.row_no AND d.tier_no = :dearest
 GROUP BY o.tier_no
"""
# Entries of steps of equal length; each step ends at `at_s`.
SPENDING = """
WITH bounds AS (
    SELECT extract(epoch FROM min(at))::float8 AS low,
           greatest(extract(epoch FROM max(at)), extract(epoch FROM min(at)) + 1)::float8 AS high
      FROM cascade_store.entry WHERE job_id = :job
), stepped AS (
    SELECT low + (high - low) / :steps * least(
               width_bucket(extract(epoch FROM e.at)::float8, low, high, :steps), :steps) AS at_s,
           e.tier_no, e.spent_nanousd + e.overrun_nanousd AS spent, e.at_risk_nanousd, e.budget_nanousd
      FROM cascade_store.entry e, bounds WHERE e.job_id = :job)
SELECT at_s, tier_no, sum(spent) AS spent,
       sum(sum(at_risk_nanousd)) OVER (PARTITION BY at_s) AS all_at_risk,
       sum(sum(budget_nanousd)) OVER (PARTITION BY at_s) AS all_budget
  FROM stepped GROUP BY at_s, tier_no ORDER BY at_s, tier_no
"""
# What was wrong with, or doubtful about, the answer that was held when more was asked for.
_CAUSE = """
    CASE WHEN d.reason = 1 THEN 'probe'
         WHEN a.value IS NULL AND a.finish_reason = 'length' THEN 'cut_off'
         WHEN a.value IS NULL THEN 'unfit'
         WHEN v.passed = false THEN 'judge'
         WHEN a.passed = false AND j.labels = 'check' THEN 'check'
         WHEN v.passed OR a.passed AND j.labels = 'check' THEN 'passed'
         WHEN coalesce(a.label_logprob, a.logprob_mean) IS NULL THEN 'expected'
         WHEN coalesce(a.label_logprob, a.logprob_mean) < ln(0.6) THEN 'unsure'
         WHEN coalesce(a.label_logprob, a.logprob_mean) < ln(0.9) THEN 'rather_sure'
         ELSE 'sure' END
"""
_DRAFT = """
    CROSS JOIN LATERAL (
        SELECT a.* FROM cascade_store.answer a
         WHERE a.job_id = :job AND a.row_no = d.row_no AND a.tier_no <> d.tier_no AND a.sample_no = 0
           AND a.answered_at <= w.planned_at
         ORDER BY a.answered_at DESC LIMIT 1) a
    LEFT JOIN cascade_store.verdict v
      ON v.job_id = :job AND v.row_no = a.row_no AND v.tier_no = a.tier_no
"""
# Whatever was sent to a tier while another one's answer was held: also what was drawn at random, to learn.
_ESCALATED = "d.job_id = :job AND d.action = 0 AND d.reason <> 0"
CAUSES = f"""
SELECT d.tier_no, a.tier_no AS from_tier, {_CAUSE} AS cause, count(*) AS rows
  FROM cascade_store.decision d
  JOIN cascade_store.wave w ON w.job_id = :job AND w.wave = d.wave
  JOIN cascade_store.job j ON j.job_id = :job
  {_DRAFT}
 WHERE {_ESCALATED}
 GROUP BY d.tier_no, a.tier_no, cause ORDER BY d.tier_no, a.tier_no, rows DESC
"""  # noqa: S608
# Some of which most was expected and some drawn by lot, so that there are all kinds to choose from.
CANDIDATES = f"""
WITH ranked AS (
    SELECT d.row_no, d.tier_no, d.wave, d.reason, d.gain,
           row_number() OVER (PARTITION BY d.tier_no, d.reason ORDER BY d.gain DESC, d.row_no) AS by_gain,
           row_number() OVER (PARTITION BY d.tier_no, d.reason ORDER BY md5(d.row_no::text)) AS by_lot
      FROM cascade_store.decision d WHERE {_ESCALATED}
), d AS MATERIALIZED (
    SELECT * FROM ranked WHERE by_gain <= 40 OR by_lot <= 60)
SELECT d.row_no, d.tier_no, a.tier_no AS from_tier, {_CAUSE} AS cause, d.gain::float8 AS gain,
       CASE WHEN a.value_key <> 0 AND n.value_key <> 0 THEN a.value_key <> n.value_key END AS changed,
       coalesce(n.matches_gold, n.passed) AS is_right
  FROM d
  JOIN cascade_store.wave w ON w.job_id = :job AND w.wave = d.wave
  JOIN cascade_store.job j ON j.job_id = :job
  {_DRAFT}
  JOIN cascade_store.answer n
    ON n.job_id = :job AND n.row_no = d.row_no AND n.tier_no = d.tier_no AND n.sample_no = 0
 ORDER BY d.row_no, d.tier_no
"""  # noqa: S608
EXAMPLE_ROWS = """
SELECT r.row_no, r.custom_id,
       CASE WHEN octet_length(r.input::text) <= 20000 THEN r.input END AS input,
       left(r.input::text, 1000) AS input_text, left(r.gold, 1000) AS gold
  FROM cascade_store.row r WHERE r.job_id = :job AND r.row_no = ANY (:rows)
"""
EXAMPLE_ANSWERS = """
SELECT a.row_no, a.tier_no, left(a.text, 2000) AS text, a.error,
       coalesce(a.label_logprob, a.logprob_mean)::float8 AS logprob,
       coalesce(a.matches_gold, a.passed) AS is_right, a.tier_no = coalesce(c.tier_no, (
           SELECT o.tier_no FROM cascade_store.answer o
            WHERE o.job_id = :job AND o.row_no = a.row_no AND o.sample_no = 0
            ORDER BY (o.value IS NOT NULL) DESC, o.tier_no DESC LIMIT 1)) AS stands
  FROM cascade_store.answer a
  LEFT JOIN cascade_store.choice c ON c.job_id = :job AND c.row_no = a.row_no
 WHERE a.job_id = :job AND a.sample_no = 0 AND a.row_no = ANY (:rows)
 ORDER BY a.row_no, a.answered_at, a.tier_no
"""
GOLD_COLUMN = "SELECT spec ->> 'gold' AS gold FROM cascade_store.job WHERE job_id = :job"

_GROUPED = r"regexp_replace(left(coalesce({0}, ''), 300), '\d+', '#', 'g')"
# A choice without an answer, unless one came since.
FAILURES = f"""
SELECT count(*) AS rows, min(c.row_no) AS row_no,
       (array_agg(left(c.error, 1000) ORDER BY c.row_no))[1] AS example
  FROM cascade_store.choice c
 WHERE c.job_id = :job AND c.tier_no IS NULL
   AND NOT EXISTS (SELECT 1 FROM cascade_store.answer a
                    WHERE a.job_id = :job AND a.row_no = c.row_no AND a.sample_no = 0)
 GROUP BY {_GROUPED.format("c.error")} ORDER BY rows DESC, row_no LIMIT :limit
"""  # noqa: S608
REFUSALS = f"""
SELECT t.name AS tier, count(*) AS rows, min(f.row_no) AS row_no,
       (array_agg(left(f.message, 1000) ORDER BY f.row_no))[1] AS example
  FROM cascade_store.refusal f JOIN cascade_store.job_tier t USING (job_id, tier_no)
 WHERE f.job_id = :job
 GROUP BY t.tier_no, t.name, {_GROUPED.format("f.message")}
 ORDER BY rows DESC, t.tier_no, row_no LIMIT :limit
"""  # noqa: S608
UNFIT = f"""
SELECT count(*) AS rows, min(a.row_no) AS row_no,
       (array_agg(left(a.error, 1000) ORDER BY a.row_no))[1] AS example
  FROM cascade_store.answer a
  JOIN cascade_store.choice c ON c.job_id = :job AND c.row_no = a.row_no AND c.tier_no = a.tier_no
 WHERE a.job_id = :job AND a.sample_no = 0 AND a.value IS NULL
 GROUP BY {_GROUPED.format("a.error")} ORDER BY rows DESC, row_no LIMIT :limit
"""  # noqa: S608
RELEASED = """
SELECT count(*) AS calls, coalesce(sum(amount_nanousd), 0) AS amount_nanousd
  FROM cascade_store.lost_call WHERE job_id = :job AND released_at IS NOT NULL
"""
