ALTER TABLE tenants DROP COLUMN plan_mac;
