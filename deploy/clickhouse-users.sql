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

-- The shim reads. readonly = 2: it may set query settings (max_execution_time, ...), and nothing else.
CREATE SETTINGS PROFILE IF NOT EXISTS meterhouse_read SETTINGS readonly = 2;
CREATE USER IF NOT EXISTS meterhouse_shim IDENTIFIED WITH sha256_password BY 'change-me-shim'
    SETTINGS PROFILE 'meterhouse_read';
GRANT SELECT ON meterhouse.* TO meterhouse_shim;
GRANT CREATE TEMPORARY TABLE ON *.* TO meterhouse_shim;
-- Ending its own statements, when a client goes away, needs no grant.
