-- When who signed in last proved to be who they are, by the password: what takes an account over asks
-- for that anew.
ALTER TABLE sessions ADD COLUMN proven_at timestamptz;
