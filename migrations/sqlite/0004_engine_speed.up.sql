-- What every job paid for at each of its steps, and few used: people list jobs by id, which
-- is the order in which they were enqueued.
DROP INDEX jobs_time;
DROP INDEX job_history_time;
