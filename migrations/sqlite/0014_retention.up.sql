-- By what a host knows that it was a host which put a tenant on its plan: how long the audit log is
-- kept hangs on that.
ALTER TABLE tenants ADD COLUMN plan_mac TEXT;
