ALTER TABLE jobs ADD FOREIGN KEY (tenant_id) REFERENCES tenants (id);
ALTER TABLE events ADD FOREIGN KEY (tenant_id) REFERENCES tenants (id);
ALTER TABLE audit_log ADD FOREIGN KEY (tenant_id) REFERENCES tenants (id);
ALTER TABLE records ADD FOREIGN KEY (tenant_id) REFERENCES tenants (id);
ALTER TABLE jobs DROP CONSTRAINT jobs_pkey, ADD PRIMARY KEY (id, tenant_id);
CREATE INDEX jobs_time ON jobs (tenant_id, created_at, id);
CREATE INDEX job_history_time ON job_history (tenant_id, created_at, id);
