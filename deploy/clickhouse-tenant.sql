-- A user who reads one project with a ClickHouse client: org 1, project 2 (an example, one such file per tenant):
--   clickhouse-client --multiquery < deploy/clickhouse-tenant.sql
-- Run it after the indexer has made the tables, and change the password. On a cluster add ON CLUSTER, and name
-- the tables ..._local.
CREATE USER IF NOT EXISTS tenant_1_2 IDENTIFIED WITH sha256_password BY 'change-me-tenant'
    SETTINGS readonly = 1;
GRANT SELECT ON meterhouse.metrics_counters_v2_local TO tenant_1_2;
GRANT SELECT ON meterhouse.counters_10s TO tenant_1_2;
GRANT SELECT ON meterhouse.series TO tenant_1_2;
GRANT SELECT ON meterhouse.strings TO tenant_1_2;

-- The view reads its table with the rights of the user who asks, so that the policy of the table holds.
CREATE ROW POLICY IF NOT EXISTS tenant_1_2 ON meterhouse.counters_10s, meterhouse.series
    FOR SELECT USING org_id = 1 AND project_id = 2 TO tenant_1_2;
-- Strings belong to an org. Its projects can see each other's; leave out the GRANT above where they must not.
CREATE ROW POLICY IF NOT EXISTS tenant_1_2 ON meterhouse.strings
    FOR SELECT USING org_id = 1 TO tenant_1_2;

-- A server may hide all rows of a table with policies from users that none of them names: keep Meterhouse's own.
CREATE ROW POLICY IF NOT EXISTS meterhouse_all
    ON meterhouse.counters_10s, meterhouse.series, meterhouse.strings
    FOR SELECT USING 1 TO meterhouse_indexer, meterhouse_shim;
