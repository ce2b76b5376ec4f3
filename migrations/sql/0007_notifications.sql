-- Messages about jobs. What happens and what is to be told of it are stored together; who sends it, and how
-- often it has to try, never touches the job.

-- url: an address, or env:NAME. shown: what may be shown of it. secret_env: the name of a variable, never what
-- it holds. gone: the receiver said that it wants no more.
CREATE TABLE cascade_store.notify_target (
    job_id integer NOT NULL,
    target_no smallint NOT NULL,
    url text NOT NULL,
    shown text NOT NULL,
    secret_env text,
    states text[] NOT NULL,
    percents smallint[] NOT NULL,
    gone boolean NOT NULL DEFAULT false,
    CONSTRAINT notify_target_pkey PRIMARY KEY (job_id, target_no),
    CONSTRAINT notify_target_job_id_fkey FOREIGN KEY (job_id)
        REFERENCES cascade_store.job (job_id) ON DELETE CASCADE
);

-- waiting: to be sent at `next_at`; delivered: the receiver answered with 2xx; given_up: it never did.
-- webhook_id stays the same whenever it is sent again. percent and budget_nanousd: of a share of the budget.
CREATE TABLE cascade_store.notification (
    notification_id bigint GENERATED ALWAYS AS IDENTITY,
    job_id integer NOT NULL,
    target_no smallint NOT NULL,
    webhook_id text NOT NULL,
    event text NOT NULL,
    percent smallint,
    budget_nanousd bigint,
    body text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    state text NOT NULL DEFAULT 'waiting',
    tries integer NOT NULL DEFAULT 0,
    next_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    delivered_at timestamptz,
    error text,
    CONSTRAINT notification_pkey PRIMARY KEY (notification_id),
    CONSTRAINT notification_target_fkey FOREIGN KEY (job_id, target_no)
        REFERENCES cascade_store.notify_target (job_id, target_no) ON DELETE CASCADE,
    CONSTRAINT notification_state_check CHECK (state IN ('waiting', 'delivered', 'given_up'))
);
CREATE INDEX notification_job_idx ON cascade_store.notification (job_id, target_no);
CREATE INDEX notification_waiting_idx ON cascade_store.notification (next_at) WHERE state = 'waiting';
-- A share of a budget is told of once; of a budget that was raised, once more.
CREATE UNIQUE INDEX notification_share_idx
    ON cascade_store.notification (job_id, target_no, percent, budget_nanousd) WHERE percent IS NOT NULL;

CREATE FUNCTION cascade_store.new_webhook_id() RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT 'msg_' || replace(gen_random_uuid()::text, '-', '')
$$;

-- What a message says, of the job as it is now.
CREATE FUNCTION cascade_store.notice_body(
    p_job cascade_store.job, p_balance cascade_store.balance, p_event text, p_percent integer
) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT jsonb_strip_nulls(jsonb_build_object(
        'type', 'job.' || p_event,
        'timestamp', to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'text', format(
            'Job %s %s: %s of %s rows answered%s, $%s of $%s spent%s', p_job.name,
            CASE p_event WHEN 'budget_reached' THEN 'has used ' || p_percent || ' % of its budget'
                         WHEN 'finished' THEN 'is finished' WHEN 'failed' THEN 'has failed'
                         WHEN 'paused' THEN 'is paused' ELSE 'was cancelled' END,
            n.answered, p_job.rows_total,
            CASE WHEN p_job.rows_failed > 0 THEN format(', %s failed', p_job.rows_failed) ELSE '' END,
            round(cascade.usd(p_balance.spent_nanousd + p_balance.overrun_nanousd), 4),
            trim_scale(cascade.usd(p_balance.budget_nanousd)),
            CASE WHEN p_event <> 'budget_reached' AND p_job.reason IS NOT NULL
                 THEN format(' (%s)', p_job.reason) ELSE '' END),
        'data', jsonb_build_object(
            'job', p_job.name, 'status', p_job.state, 'reason', p_job.reason,
            'percent', p_percent,
            'rows', jsonb_build_object(
                'total', p_job.rows_total, 'answered', n.answered, 'failed', p_job.rows_failed,
                'pending', greatest(p_job.rows_total - n.answered - p_job.rows_failed, 0)),
            'budget_usd', trim_scale(cascade.usd(p_balance.budget_nanousd)),
            'spent_usd', trim_scale(cascade.usd(p_balance.spent_nanousd)),
            'at_risk_usd', trim_scale(cascade.usd(p_balance.at_risk_nanousd)),
            'overrun_usd', trim_scale(cascade.usd(p_balance.overrun_nanousd)),
            'quality', round(p_job.quality::numeric, 4))))::text
      FROM (SELECT coalesce(sum(t.first_answers), 0)::bigint AS answered
              FROM cascade_store.job_tier t WHERE t.job_id = p_job.job_id) n
$$;

-- Note the shares of its budget that a job has used and that were not told of yet. What may have been billed
-- counts as used. The whole of it is used when less than half a percent is left: a job rarely ends on its last
-- nano-dollar.
CREATE FUNCTION cascade_store.note_shares(p_job cascade_store.job) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    b cascade_store.balance;
    n integer;
BEGIN
    SELECT * INTO b FROM cascade_store.balance x WHERE x.job_id = p_job.job_id;
    IF b.budget_nanousd IS NULL OR b.budget_nanousd = 0 THEN
        RETURN 0;
    END IF;
    INSERT INTO cascade_store.notification (
        webhook_id, job_id, target_no, event, percent, budget_nanousd, body)
    SELECT cascade_store.new_webhook_id(), t.job_id, t.target_no, 'budget_reached', p, b.budget_nanousd,
           cascade_store.notice_body(p_job, b, 'budget_reached', p)
      FROM cascade_store.notify_target t, unnest(t.percents) AS p
     WHERE t.job_id = p_job.job_id AND NOT t.gone
       AND (b.spent_nanousd + b.at_risk_nanousd + b.overrun_nanousd)::numeric * 200
           >= b.budget_nanousd::numeric * least(p * 2, 199)
       AND NOT EXISTS (SELECT 1 FROM cascade_store.notification x
                        WHERE x.job_id = t.job_id AND x.target_no = t.target_no AND x.percent = p
                          AND x.budget_nanousd = b.budget_nanousd)
     ORDER BY t.target_no, p
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS n = ROW_COUNT;
    RETURN n;
END $$;

CREATE FUNCTION cascade_store.note_state() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM cascade_store.notify_target t WHERE t.job_id = NEW.job_id) THEN
        PERFORM cascade_store.note_shares(NEW);
        INSERT INTO cascade_store.notification (webhook_id, job_id, target_no, event, body)
        SELECT cascade_store.new_webhook_id(), t.job_id, t.target_no, NEW.state,
               cascade_store.notice_body(NEW, b, NEW.state, NULL)
          FROM cascade_store.notify_target t JOIN cascade_store.balance b USING (job_id)
         WHERE t.job_id = NEW.job_id AND NOT t.gone AND NEW.state = ANY (t.states)
         ORDER BY t.target_no;
    END IF;
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    -- Whatever is wrong with a message, the job goes on.
    RAISE WARNING 'job %: its messages could not be stored: %', NEW.job_id, SQLERRM;
    RETURN NULL;
END $$;

CREATE TRIGGER note_state AFTER UPDATE OF state ON cascade_store.job FOR EACH ROW
    WHEN (OLD.state IS DISTINCT FROM NEW.state
          AND NEW.state IN ('finished', 'failed', 'paused', 'cancelled'))
    EXECUTE FUNCTION cascade_store.note_state();

CREATE VIEW cascade.notifications AS
SELECT j.name AS job, 'job.' || n.event AS type, n.percent, t.shown AS target, n.at, n.state, n.tries,
       n.delivered_at, CASE WHEN n.state = 'waiting' THEN n.next_at END AS next_at, n.error, n.webhook_id
  FROM cascade_store.notification n
  JOIN cascade_store.notify_target t USING (job_id, target_no)
  JOIN cascade_store.job j USING (job_id);
