-- Whoever takes jobs back reads the first of what runs alone.
DROP INDEX jobs_running;
CREATE INDEX jobs_running ON jobs (leased_until) WHERE state = 'running';
