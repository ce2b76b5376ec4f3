-- Of a row whose first answer is in flight, the ring fence holds nothing: its part pays for the call. If that
-- call is lost, and all else was reserved for other things meanwhile, nothing is left to ask the row again.
-- So the account knows what calls in flight have lent themselves, and whatever wants more than its own part
-- of the fence leaves as much again as well.
ALTER TABLE cascade_store.balance
    ADD COLUMN lent_nanousd bigint NOT NULL DEFAULT 0 CONSTRAINT balance_lent_never_negative
        CHECK (lent_nanousd >= 0);

UPDATE cascade_store.balance b SET lent_nanousd = l.lent
  FROM (SELECT c.job_id, sum(c.lent_nanousd) AS lent FROM cascade_store.chunk c
         WHERE c.lent_nanousd > 0 GROUP BY c.job_id) l
 WHERE l.job_id = b.job_id;

-- As in 0003_functions.sql, but for what is lent.

-- One turn of a worker: settles the calls just made, stores their answers and reserves for the next,
-- for all chunks that it holds, or for none of a chunk whose lease it lost.
-- Exactly once: a turn carries the number of the chunk's last turn. A worker that lost its connection
-- and can't know whether the turn was carried out sends it again: either it is carried out now, or it
-- is recognised, and only what it granted is told once more.
CREATE OR REPLACE FUNCTION cascade_store.turn(
    p_owner text, p_lease_s double precision, p_chunks jsonb,
    a_chunk bigint[], a_job integer[], a_row integer[], a_tier smallint[], a_passed boolean[],
    a_input_tokens integer[], a_cached_tokens integer[], a_output_tokens integer[],
    a_reasoning_tokens integer[], a_cost bigint[], a_latency real[],
    a_logprob_mean real[], a_logprob_min real[], a_logprob_sum real[], a_label_logprob real[],
    a_text text[], a_value text[], a_error text[], a_finish text[], a_signals text[],
    a_sample smallint[], a_matches_gold boolean[], a_value_key bigint[],
    p_refusals jsonb, p_losses jsonb, p_verdicts jsonb
) RETURNS TABLE (
    chunk_id bigint, granted integer, job_state text, job_reserved_nanousd bigint, tier_stopped boolean
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_live bigint[];
    v_told bigint[];
    c record;
    b cascade_store.balance;
    v_state text;
    v_stopped boolean;
    v_granted integer;
    v_want bigint;
    v_lent bigint;
BEGIN
    -- Locked first and looked at then: a turn that is sent again may find its first sending still at
    -- work, and has to wait for it before it can tell what became of it.
    SELECT coalesce(array_agg(s.chunk_id) FILTER (WHERE s.ahead = 0), '{}'),
           coalesce(array_agg(s.chunk_id) FILTER (WHERE s.ahead = 1), '{}')
      INTO v_live, v_told FROM (
        SELECT k.chunk_id, k.turn_no - x.turn_no AS ahead
          FROM jsonb_to_recordset(p_chunks) AS x(chunk bigint, fence bigint, turn_no bigint)
          JOIN cascade_store.chunk k ON k.chunk_id = x.chunk AND k.fence = x.fence
         WHERE k.state = 'leased' AND k.owner = p_owner
         ORDER BY k.chunk_id FOR UPDATE OF k) s;

    IF cardinality(v_told) > 0 THEN
        RETURN QUERY
            SELECT k.chunk_id, coalesce(cardinality(k.in_flight), 0) - x.held_count, j.state,
                   b.reserved_nanousd, t.stopped IS NOT NULL
              FROM jsonb_to_recordset(p_chunks) AS x(chunk bigint, held_count integer)
              JOIN cascade_store.chunk k ON k.chunk_id = x.chunk
              JOIN cascade_store.job j ON j.job_id = k.job_id
              JOIN cascade_store.balance b ON b.job_id = k.job_id
              JOIN cascade_store.job_tier t ON t.job_id = k.job_id AND t.tier_no = k.tier_no
             WHERE k.chunk_id = ANY (v_told);
    END IF;

    IF array_length(a_row, 1) > 0 THEN
        INSERT INTO cascade_store.answer (
            job_id, row_no, tier_no, passed, input_tokens, cached_input_tokens, output_tokens,
            reasoning_tokens, cost_nanousd, latency_ms, logprob_mean, logprob_min, logprob_sum,
            label_logprob, chunk_id, text, value, error, finish_reason, signals, sample_no,
            matches_gold, value_key)
        SELECT a.job, a.row_no, a.tier, a.passed, a.input_tokens, a.cached_tokens, a.output_tokens,
               a.reasoning_tokens, a.cost, a.latency, a.logprob_mean, a.logprob_min, a.logprob_sum,
               a.label_logprob, a.chunk, a.text, a.value::jsonb, a.error, a.finish, a.signals::jsonb,
               a.sample, a.matches_gold, a.value_key
          FROM unnest(
               a_chunk, a_job, a_row, a_tier, a_passed, a_input_tokens, a_cached_tokens,
               a_output_tokens, a_reasoning_tokens, a_cost, a_latency, a_logprob_mean,
               a_logprob_min, a_logprob_sum, a_label_logprob, a_text, a_value, a_error, a_finish,
               a_signals, a_sample, a_matches_gold, a_value_key)
            AS a(chunk, job, row_no, tier, passed, input_tokens, cached_tokens, output_tokens,
                 reasoning_tokens, cost, latency, logprob_mean, logprob_min, logprob_sum,
                 label_logprob, text, value, error, finish, signals, sample, matches_gold, value_key)
         WHERE a.chunk = ANY (v_live);
    END IF;
    IF p_refusals IS NOT NULL THEN
        INSERT INTO cascade_store.refusal (job_id, row_no, tier_no, message)
        SELECT r.job, r.row, r.tier, r.message
          FROM jsonb_to_recordset(p_refusals)
            AS r(chunk bigint, job integer, "row" integer, tier smallint, message text)
         WHERE r.chunk = ANY (v_live)
        ON CONFLICT DO NOTHING;
    END IF;
    IF p_losses IS NOT NULL THEN
        INSERT INTO cascade_store.lost_call (
            job_id, row_no, tier_no, chunk_id, fence, amount_nanousd, reason)
        SELECT l.job, l.row, l.tier, l.chunk, l.fence, l.amount, l.reason
          FROM jsonb_to_recordset(p_losses)
            AS l(chunk bigint, fence bigint, job integer, "row" integer, tier smallint,
                 amount bigint, reason text)
         WHERE l.chunk = ANY (v_live);
    END IF;
    IF p_verdicts IS NOT NULL THEN
        INSERT INTO cascade_store.verdict (
            job_id, row_no, tier_no, judge_tier_no, passed, probability, input_tokens,
            cached_input_tokens, output_tokens, reasoning_tokens, cost_nanousd, latency_ms, chunk_id,
            text, error, finish_reason)
        SELECT v.job, v.row, v.tier, v.judge, v.passed, v.probability, v.input_tokens,
               v.cached_tokens, v.output_tokens, v.reasoning_tokens, v.cost, v.latency, v.chunk,
               v.text, v.error, v.finish
          FROM jsonb_to_recordset(p_verdicts)
            AS v(chunk bigint, job integer, "row" integer, tier smallint, judge smallint,
                 passed boolean, probability real, input_tokens integer, cached_tokens integer,
                 output_tokens integer, reasoning_tokens integer, cost bigint, latency real,
                 text text, error text, finish text)
         WHERE v.chunk = ANY (v_live);
    END IF;

    FOR c IN
        SELECT k.chunk_id, k.job_id, k.tier_no, k.fence, x.*
          FROM jsonb_to_recordset(p_chunks) AS x(
               chunk bigint, state text, delay_s double precision,
               release bigint, lent_back bigint, lent_used bigint,
               spent bigint, at_risk bigint, overrun bigint, calls integer, answers integer,
               verdicts integer, first_answers integer, refused integer, lost integer, input_tokens bigint,
               output_tokens bigint, latency_buckets bigint[], stop_tier text,
               held integer[], held_worst bigint[], want bigint[], lent bigint[],
               want_rows integer[])
          JOIN cascade_store.chunk k ON k.chunk_id = x.chunk
         WHERE k.chunk_id = ANY (v_live)
         ORDER BY k.job_id, k.chunk_id
    LOOP
        SELECT * INTO STRICT b FROM cascade_store.balance x
         WHERE x.job_id = c.job_id FOR UPDATE;
        UPDATE cascade_store.job_tier t
           SET calls = t.calls + c.calls, answers = t.answers + c.answers,
               verdicts = t.verdicts + c.verdicts,
               first_answers = t.first_answers + c.first_answers,
               refused_rows = t.refused_rows + c.refused, lost_calls = t.lost_calls + c.lost,
               input_tokens = t.input_tokens + c.input_tokens,
               output_tokens = t.output_tokens + c.output_tokens,
               spent_nanousd = t.spent_nanousd + c.spent + c.overrun,
               stopped = coalesce(t.stopped, c.stop_tier),
               latency_buckets = CASE WHEN c.latency_buckets IS NULL THEN t.latency_buckets ELSE (
                   SELECT array_agg(coalesce(h.x, 0) + coalesce(h.y, 0) ORDER BY h.i)
                     FROM unnest(t.latency_buckets, c.latency_buckets)
                          WITH ORDINALITY AS h(x, y, i)) END
         WHERE t.job_id = c.job_id AND t.tier_no = c.tier_no
        RETURNING t.stopped IS NOT NULL INTO v_stopped;
        SELECT j.state INTO v_state FROM cascade_store.job j WHERE j.job_id = c.job_id;

        b.spent_nanousd := b.spent_nanousd + c.spent;
        b.at_risk_nanousd := b.at_risk_nanousd + c.at_risk;
        b.overrun_nanousd := b.overrun_nanousd + c.overrun;
        b.reserved_nanousd := b.reserved_nanousd - c.release;
        b.ring_fence_nanousd := b.ring_fence_nanousd + c.lent_back;
        b.lent_nanousd := b.lent_nanousd - c.lent_back - c.lent_used;
        v_granted := 0;
        IF c.state = 'leased' AND v_state IN ('queued', 'running') AND NOT v_stopped THEN
            v_granted := cascade_store.affordable(
                b.budget_nanousd - b.spent_nanousd - b.at_risk_nanousd - b.overrun_nanousd
                    - b.reserved_nanousd,
                b.ring_fence_nanousd + b.lent_nanousd, c.want, c.lent);
        END IF;
        SELECT coalesce(sum(w), 0), coalesce(sum(l), 0) INTO v_want, v_lent
          FROM unnest(c.want[1:v_granted], c.lent[1:v_granted]) AS g(w, l);

        UPDATE cascade_store.balance x
           SET spent_nanousd = b.spent_nanousd, at_risk_nanousd = b.at_risk_nanousd,
               overrun_nanousd = b.overrun_nanousd,
               reserved_nanousd = b.reserved_nanousd + v_want,
               ring_fence_nanousd = greatest(b.ring_fence_nanousd - v_lent, 0),
               lent_nanousd = b.lent_nanousd + v_lent
         WHERE x.job_id = c.job_id;
        UPDATE cascade_store.chunk k
           SET state = c.state, turn_no = k.turn_no + 1,
               owner = CASE WHEN c.state = 'leased' THEN k.owner END,
               lease_expires_at = CASE WHEN c.state = 'leased'
                   THEN clock_timestamp() + make_interval(secs => p_lease_s) END,
               not_before = CASE WHEN c.state = 'ready' AND c.delay_s > 0
                   THEN clock_timestamp() + make_interval(secs => c.delay_s) END,
               published_at = CASE WHEN c.state <> 'ready' THEN k.published_at END,
               reserved_nanousd = k.reserved_nanousd - c.release + v_want,
               lent_nanousd = k.lent_nanousd - c.lent_back - c.lent_used + v_lent,
               in_flight = CASE WHEN c.state = 'leased'
                   THEN c.held || c.want_rows[1:v_granted] END,
               in_flight_nanousd = CASE WHEN c.state = 'leased' AND c.held_worst IS NOT NULL
                   THEN c.held_worst || c.want[1:v_granted] END
         WHERE k.chunk_id = c.chunk_id;
        IF c.release <> 0 OR v_want <> 0 OR c.calls <> 0 OR c.overrun <> 0 THEN
            INSERT INTO cascade_store.entry (
                job_id, kind, tier_no, chunk_id, fence, calls, spent_nanousd, reserved_nanousd,
                at_risk_nanousd, overrun_nanousd, reason)
            VALUES (
                c.job_id,
                CASE WHEN c.at_risk > 0 THEN 'write_off' WHEN c.answers + c.verdicts > 0 THEN 'settle'
                     WHEN v_want >= c.release AND v_want > 0 THEN 'reserve' ELSE 'release' END,
                c.tier_no, c.chunk_id, c.fence, c.calls, c.spent, v_want - c.release, c.at_risk,
                c.overrun, CASE WHEN c.lost > 0 THEN c.lost || ' calls without a known end' END);
        END IF;
        chunk_id := c.chunk_id;
        granted := v_granted;
        job_state := v_state;
        job_reserved_nanousd := b.reserved_nanousd + v_want;
        tier_stopped := v_stopped;
        RETURN NEXT;
    END LOOP;
END $$;

-- Leases that ran out: what was reserved may have been billed, so it is written off, and the chunk
-- is free for the next worker under a new fence. Harmless to run twice or at the same time.
-- A lease that ran out while this server was down is left alone for a moment: its worker is on its way
-- back, with answers that were paid for.
CREATE OR REPLACE FUNCTION cascade_store.expire_leases(
    p_max integer, p_up_since timestamptz DEFAULT pg_postmaster_start_time()
) RETURNS integer LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    c record;
    n integer := 0;
BEGIN
    FOR c IN
        SELECT k.* FROM cascade_store.chunk k
         WHERE k.state = 'leased' AND k.lease_expires_at < clock_timestamp()
           AND (k.lease_expires_at > p_up_since
                OR clock_timestamp() > p_up_since + interval '10 s')
         ORDER BY k.job_id, k.chunk_id LIMIT p_max FOR UPDATE SKIP LOCKED
    LOOP
        UPDATE cascade_store.chunk k
           SET state = 'ready', owner = NULL, fence = k.fence + 1, lease_expires_at = NULL,
               published_at = NULL, reserved_nanousd = 0, lent_nanousd = 0, in_flight = NULL,
               in_flight_nanousd = NULL
         WHERE k.chunk_id = c.chunk_id;
        IF c.reserved_nanousd > 0 OR c.lent_nanousd > 0 THEN
            UPDATE cascade_store.balance b
               SET reserved_nanousd = b.reserved_nanousd - c.reserved_nanousd,
                   at_risk_nanousd = b.at_risk_nanousd + c.reserved_nanousd,
                   ring_fence_nanousd = b.ring_fence_nanousd + c.lent_nanousd,
                   lent_nanousd = b.lent_nanousd - c.lent_nanousd
             WHERE b.job_id = c.job_id;
        END IF;
        IF coalesce(array_length(c.in_flight, 1), 0) > 0 THEN
            INSERT INTO cascade_store.lost_call (
                job_id, row_no, tier_no, chunk_id, fence, amount_nanousd, reason)
            SELECT c.job_id, r.row_no, c.tier_no, c.chunk_id, c.fence,
                   coalesce(l.worst, r.worst_nanousd[c.tier_no + 1]), 'worker lost'
              FROM unnest(c.in_flight, c.in_flight_nanousd) AS l(row_no, worst)
              JOIN cascade_store.row r ON r.job_id = c.job_id AND r.row_no = l.row_no;
            UPDATE cascade_store.job_tier t
               SET calls = t.calls + array_length(c.in_flight, 1),
                   lost_calls = t.lost_calls + array_length(c.in_flight, 1)
             WHERE t.job_id = c.job_id AND t.tier_no = c.tier_no;
            INSERT INTO cascade_store.entry (
                job_id, kind, tier_no, chunk_id, fence, calls, reserved_nanousd, at_risk_nanousd,
                reason, actor)
            VALUES (c.job_id, 'write_off', c.tier_no, c.chunk_id, c.fence,
                    array_length(c.in_flight, 1), -c.reserved_nanousd, c.reserved_nanousd,
                    'worker lost', c.owner);
        END IF;
        n := n + 1;
    END LOOP;
    RETURN n;
END $$;
