-- A claim writes each row anew. Beside the old one it finds room on the same page, and the entry
-- among what runs is the last of its index, as far as it is new: leases end in the order in which
-- they begin. Whoever takes jobs back reads the first of them alone.
ALTER TABLE jobs SET (fillfactor = 50);
DROP INDEX jobs_running;
CREATE INDEX jobs_running ON jobs (leased_until) WHERE state = 'running';
