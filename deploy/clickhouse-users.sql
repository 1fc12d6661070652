-- Users with least rights for Meterhouse on a ClickHouse server:
--   clickhouse-client --multiquery < deploy/clickhouse-users.sql
-- Change the passwords. Then:
--   METERHOUSE_INDEXER__DSN=http://meterhouse_indexer:...@clickhouse:8123/meterhouse
--   METERHOUSE_SHIM__DSN=http://meterhouse_shim:...@clickhouse:8123/meterhouse
CREATE DATABASE IF NOT EXISTS meterhouse;

-- The indexer makes and alters its own tables and views, writes, and reads ids back.
CREATE USER IF NOT EXISTS meterhouse_indexer IDENTIFIED WITH sha256_password BY 'change-me-indexer';
GRANT SELECT, INSERT, ALTER, CREATE DATABASE, CREATE TABLE, CREATE VIEW, DROP TABLE, DROP VIEW
    ON meterhouse.* TO meterhouse_indexer;
-- Servers show few system tables without a grant (select_from_system_db_requires_grant in their config.xml).
-- mutations: for deletions; parts and detached_parts: to verify and repair; disks: for `meterhouse doctor`.
GRANT SELECT ON system.mutations, SELECT ON system.parts, SELECT ON system.detached_parts, SELECT ON system.disks TO meterhouse_indexer;

-- The shim reads. readonly = 2: it may set query settings (max_execution_time, ...), and nothing else.
CREATE SETTINGS PROFILE IF NOT EXISTS meterhouse_read SETTINGS readonly = 2;
CREATE USER IF NOT EXISTS meterhouse_shim IDENTIFIED WITH sha256_password BY 'change-me-shim'
    SETTINGS PROFILE 'meterhouse_read';
GRANT SELECT ON meterhouse.* TO meterhouse_shim;
GRANT CREATE TEMPORARY TABLE ON *.* TO meterhouse_shim;
-- processes: to end its own statements when a client goes away; parts: for the page Status.
GRANT SELECT ON system.processes, SELECT ON system.parts TO meterhouse_shim;
