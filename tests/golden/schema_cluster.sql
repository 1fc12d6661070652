CREATE TABLE IF NOT EXISTS `meterhouse`.`schema_migrations_local` ON CLUSTER `prod`
(
    `version` UInt32,
    `name` String,
    `applied_at` DateTime64(3, 'UTC')
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/prod/{shard}/meterhouse/schema_migrations_local', '{replica}')
ORDER BY (version, name)
SETTINGS replicated_deduplication_window = 100000, replicated_deduplication_window_seconds = 604800, replicated_deduplication_window_for_async_inserts = 100000, replicated_deduplication_window_seconds_for_async_inserts = 604800;

CREATE TABLE IF NOT EXISTS `meterhouse`.`schema_migrations` ON CLUSTER `prod`
AS `meterhouse`.`schema_migrations_local`
ENGINE = Distributed('prod', 'meterhouse', 'schema_migrations_local', version);

CREATE TABLE IF NOT EXISTS `meterhouse`.`series_local` ON CLUSTER `prod`
(
    `org_id` UInt32 CODEC(LZ4),
    `project_id` UInt32 CODEC(LZ4),
    `metric_id` UInt64 CODEC(ZSTD(1)),
    `series_id` UInt64 CODEC(ZSTD(1)),
    `type` SimpleAggregateFunction(any, Enum8('counter' = 1, 'gauge' = 2, 'histogram' = 3, 'set' = 4)) CODEC(ZSTD(1)),
    `tag_keys` SimpleAggregateFunction(any, Array(UInt64)) CODEC(ZSTD(1)),
    `tag_values` SimpleAggregateFunction(any, Array(UInt64)) CODEC(ZSTD(1)),
    `day` Date CODEC(LZ4),
    `first_seen` SimpleAggregateFunction(min, DateTime('UTC')) CODEC(ZSTD(1)),
    `last_seen` SimpleAggregateFunction(max, DateTime('UTC')) CODEC(ZSTD(1))
)
ENGINE = ReplicatedAggregatingMergeTree('/clickhouse/tables/prod/{shard}/meterhouse/series_local', '{replica}')
PARTITION BY toYYYYMM(day)
ORDER BY (org_id, project_id, metric_id, day, series_id)
TTL day + toIntervalDay(1830)
SETTINGS replicated_deduplication_window = 0, replicated_deduplication_window_for_async_inserts = 0, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `meterhouse`.`series` ON CLUSTER `prod`
AS `meterhouse`.`series_local`
ENGINE = Distributed('prod', 'meterhouse', 'series_local', series_id);

CREATE TABLE IF NOT EXISTS `meterhouse`.`strings_local` ON CLUSTER `prod`
(
    `org_id` UInt32 CODEC(LZ4),
    `id` UInt64 CODEC(ZSTD(1)),
    `string` String CODEC(ZSTD(1)),
    `day` Date DEFAULT today() CODEC(ZSTD(1))
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/prod/{shard}/meterhouse/strings_local', '{replica}')
ORDER BY (org_id, id, string)
TTL day + toIntervalDay(1860)
SETTINGS replicated_deduplication_window = 0, replicated_deduplication_window_for_async_inserts = 0;

CREATE TABLE IF NOT EXISTS `meterhouse`.`strings` ON CLUSTER `prod`
AS `meterhouse`.`strings_local`
ENGINE = Distributed('prod', 'meterhouse', 'strings_local', id);

CREATE TABLE IF NOT EXISTS `meterhouse`.`metric_tag_keys_local` ON CLUSTER `prod`
(
    `org_id` UInt32 CODEC(LZ4),
    `project_id` UInt32 CODEC(LZ4),
    `metric_id` UInt64 CODEC(ZSTD(1)),
    `tag_key` UInt64 CODEC(ZSTD(1)),
    `first_day` SimpleAggregateFunction(min, Date) CODEC(ZSTD(1)),
    `last_day` SimpleAggregateFunction(max, Date) CODEC(ZSTD(1))
)
ENGINE = ReplicatedAggregatingMergeTree('/clickhouse/tables/prod/{shard}/meterhouse/metric_tag_keys_local', '{replica}')
ORDER BY (org_id, project_id, metric_id, tag_key)
TTL last_day + toIntervalDay(1830)
SETTINGS replicated_deduplication_window = 0, replicated_deduplication_window_for_async_inserts = 0;

CREATE TABLE IF NOT EXISTS `meterhouse`.`metric_tag_keys` ON CLUSTER `prod`
AS `meterhouse`.`metric_tag_keys_local`
ENGINE = Distributed('prod', 'meterhouse', 'metric_tag_keys_local', tag_key);

CREATE TABLE IF NOT EXISTS `meterhouse`.`metric_tag_values_local` ON CLUSTER `prod`
(
    `org_id` UInt32 CODEC(LZ4),
    `project_id` UInt32 CODEC(LZ4),
    `metric_id` UInt64 CODEC(ZSTD(1)),
    `tag_key` UInt64 CODEC(ZSTD(1)),
    `tag_value` UInt64 CODEC(ZSTD(1)),
    `first_day` SimpleAggregateFunction(min, Date) CODEC(ZSTD(1)),
    `last_day` SimpleAggregateFunction(max, Date) CODEC(ZSTD(1))
)
ENGINE = ReplicatedAggregatingMergeTree('/clickhouse/tables/prod/{shard}/meterhouse/metric_tag_values_local', '{replica}')
ORDER BY (org_id, project_id, metric_id, tag_key, tag_value)
TTL last_day + toIntervalDay(1830)
SETTINGS replicated_deduplication_window = 0, replicated_deduplication_window_for_async_inserts = 0;

CREATE TABLE IF NOT EXISTS `meterhouse`.`metric_tag_values` ON CLUSTER `prod`
AS `meterhouse`.`metric_tag_values_local`
ENGINE = Distributed('prod', 'meterhouse', 'metric_tag_values_local', tag_value);

CREATE MATERIALIZED VIEW IF NOT EXISTS `meterhouse`.`metric_tag_keys_view_local` ON CLUSTER `prod`
TO `meterhouse`.`metric_tag_keys_local`
AS SELECT
    org_id,
    project_id,
    metric_id,
    arrayJoin(tag_keys) AS tag_key,
    day AS first_day,
    day AS last_day
FROM `meterhouse`.`series_local`;

CREATE MATERIALIZED VIEW IF NOT EXISTS `meterhouse`.`metric_tag_values_view_local` ON CLUSTER `prod`
TO `meterhouse`.`metric_tag_values_local`
AS SELECT
    org_id,
    project_id,
    metric_id,
    (arrayJoin(arrayZip(tag_keys, tag_values)) AS tag).1 AS tag_key,
    tag.2 AS tag_value,
    day AS first_day,
    day AS last_day
FROM `meterhouse`.`series_local`;

CREATE TABLE IF NOT EXISTS `meterhouse`.`counters_10s_local` ON CLUSTER `prod`
(
    `org_id` UInt32 CODEC(LZ4),
    `project_id` UInt32 CODEC(LZ4),
    `metric_id` UInt64 CODEC(ZSTD(1)),
    `series_id` UInt64 CODEC(ZSTD(1)),
    `timestamp` DateTime('UTC') CODEC(Delta, LZ4),
    `retention_days` UInt16 CODEC(LZ4),
    `value` SimpleAggregateFunction(sum, Float64) CODEC(ALP, ZSTD(1))
)
ENGINE = ReplicatedAggregatingMergeTree('/clickhouse/tables/prod/{shard}/meterhouse/counters_10s_local', '{replica}')
PARTITION BY (retention_days, toDate(timestamp))
ORDER BY (org_id, project_id, metric_id, toStartOfHour(timestamp), series_id, timestamp)
TTL timestamp + toIntervalDay(retention_days)
SETTINGS replicated_deduplication_window = 100000, replicated_deduplication_window_seconds = 604800, replicated_deduplication_window_for_async_inserts = 100000, replicated_deduplication_window_seconds_for_async_inserts = 604800, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `meterhouse`.`counters_10s` ON CLUSTER `prod`
AS `meterhouse`.`counters_10s_local`
ENGINE = Distributed('prod', 'meterhouse', 'counters_10s_local', series_id);

CREATE TABLE IF NOT EXISTS `meterhouse`.`counters_60s_local` ON CLUSTER `prod`
(
    `org_id` UInt32 CODEC(LZ4),
    `project_id` UInt32 CODEC(LZ4),
    `metric_id` UInt64 CODEC(ZSTD(1)),
    `series_id` UInt64 CODEC(ZSTD(1)),
    `timestamp` DateTime('UTC') CODEC(Delta, LZ4),
    `retention_days` UInt16 CODEC(LZ4),
    `value` SimpleAggregateFunction(sum, Float64) CODEC(ALP, ZSTD(1))
)
ENGINE = ReplicatedAggregatingMergeTree('/clickhouse/tables/prod/{shard}/meterhouse/counters_60s_local', '{replica}')
PARTITION BY (retention_days, toMonday(timestamp))
ORDER BY (org_id, project_id, metric_id, toStartOfDay(timestamp), series_id, timestamp)
TTL timestamp + toIntervalDay(retention_days)
SETTINGS replicated_deduplication_window = 100000, replicated_deduplication_window_seconds = 604800, replicated_deduplication_window_for_async_inserts = 100000, replicated_deduplication_window_seconds_for_async_inserts = 604800, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `meterhouse`.`counters_60s` ON CLUSTER `prod`
AS `meterhouse`.`counters_60s_local`
ENGINE = Distributed('prod', 'meterhouse', 'counters_60s_local', series_id);

CREATE TABLE IF NOT EXISTS `meterhouse`.`counters_1h_local` ON CLUSTER `prod`
(
    `org_id` UInt32 CODEC(LZ4),
    `project_id` UInt32 CODEC(LZ4),
    `metric_id` UInt64 CODEC(ZSTD(1)),
    `series_id` UInt64 CODEC(ZSTD(1)),
    `timestamp` DateTime('UTC') CODEC(Delta, LZ4),
    `retention_days` UInt16 CODEC(LZ4),
    `value` SimpleAggregateFunction(sum, Float64) CODEC(ALP, ZSTD(1))
)
ENGINE = ReplicatedAggregatingMergeTree('/clickhouse/tables/prod/{shard}/meterhouse/counters_1h_local', '{replica}')
PARTITION BY (retention_days, toStartOfMonth(timestamp))
ORDER BY (org_id, project_id, metric_id, series_id, timestamp)
TTL timestamp + toIntervalDay(retention_days)
SETTINGS replicated_deduplication_window = 100000, replicated_deduplication_window_seconds = 604800, replicated_deduplication_window_for_async_inserts = 100000, replicated_deduplication_window_seconds_for_async_inserts = 604800, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `meterhouse`.`counters_1h` ON CLUSTER `prod`
AS `meterhouse`.`counters_1h_local`
ENGINE = Distributed('prod', 'meterhouse', 'counters_1h_local', series_id);

CREATE TABLE IF NOT EXISTS `meterhouse`.`counters_1d_local` ON CLUSTER `prod`
(
    `org_id` UInt32 CODEC(LZ4),
    `project_id` UInt32 CODEC(LZ4),
    `metric_id` UInt64 CODEC(ZSTD(1)),
    `series_id` UInt64 CODEC(ZSTD(1)),
    `timestamp` DateTime('UTC') CODEC(Delta, LZ4),
    `retention_days` UInt16 CODEC(LZ4),
    `value` SimpleAggregateFunction(sum, Float64) CODEC(ALP, ZSTD(1))
)
ENGINE = ReplicatedAggregatingMergeTree('/clickhouse/tables/prod/{shard}/meterhouse/counters_1d_local', '{replica}')
PARTITION BY (retention_days, toStartOfYear(timestamp))
ORDER BY (org_id, project_id, metric_id, series_id, timestamp)
TTL timestamp + toIntervalDay(retention_days)
SETTINGS replicated_deduplication_window = 100000, replicated_deduplication_window_seconds = 604800, replicated_deduplication_window_for_async_inserts = 100000, replicated_deduplication_window_seconds_for_async_inserts = 604800, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `meterhouse`.`counters_1d` ON CLUSTER `prod`
AS `meterhouse`.`counters_1d_local`
ENGINE = Distributed('prod', 'meterhouse', 'counters_1d_local', series_id);

CREATE TABLE IF NOT EXISTS `meterhouse`.`gauges_10s_local` ON CLUSTER `prod`
(
    `org_id` UInt32 CODEC(LZ4),
    `project_id` UInt32 CODEC(LZ4),
    `metric_id` UInt64 CODEC(ZSTD(1)),
    `series_id` UInt64 CODEC(ZSTD(1)),
    `timestamp` DateTime('UTC') CODEC(Delta, LZ4),
    `retention_days` UInt16 CODEC(LZ4),
    `last` SimpleAggregateFunction(max, Tuple(DateTime64(3, 'UTC'), Float64)) CODEC(ZSTD(1)),
    `min` SimpleAggregateFunction(min, Float64) CODEC(ALP, ZSTD(1)),
    `max` SimpleAggregateFunction(max, Float64) CODEC(ALP, ZSTD(1)),
    `sum` SimpleAggregateFunction(sum, Float64) CODEC(ALP, ZSTD(1)),
    `count` SimpleAggregateFunction(sum, Float64) CODEC(ALP, ZSTD(1))
)
ENGINE = ReplicatedAggregatingMergeTree('/clickhouse/tables/prod/{shard}/meterhouse/gauges_10s_local', '{replica}')
PARTITION BY (retention_days, toDate(timestamp))
ORDER BY (org_id, project_id, metric_id, toStartOfHour(timestamp), series_id, timestamp)
TTL timestamp + toIntervalDay(retention_days)
SETTINGS replicated_deduplication_window = 100000, replicated_deduplication_window_seconds = 604800, replicated_deduplication_window_for_async_inserts = 100000, replicated_deduplication_window_seconds_for_async_inserts = 604800, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `meterhouse`.`gauges_10s` ON CLUSTER `prod`
AS `meterhouse`.`gauges_10s_local`
ENGINE = Distributed('prod', 'meterhouse', 'gauges_10s_local', series_id);

CREATE TABLE IF NOT EXISTS `meterhouse`.`gauges_60s_local` ON CLUSTER `prod`
(
    `org_id` UInt32 CODEC(LZ4),
    `project_id` UInt32 CODEC(LZ4),
    `metric_id` UInt64 CODEC(ZSTD(1)),
    `series_id` UInt64 CODEC(ZSTD(1)),
    `timestamp` DateTime('UTC') CODEC(Delta, LZ4),
    `retention_days` UInt16 CODEC(LZ4),
    `last` SimpleAggregateFunction(max, Tuple(DateTime64(3, 'UTC'), Float64)) CODEC(ZSTD(1)),
    `min` SimpleAggregateFunction(min, Float64) CODEC(ALP, ZSTD(1)),
    `max` SimpleAggregateFunction(max, Float64) CODEC(ALP, ZSTD(1)),
    `sum` SimpleAggregateFunction(sum, Float64) CODEC(ALP, ZSTD(1)),
    `count` SimpleAggregateFunction(sum, Float64) CODEC(ALP, ZSTD(1))
)
ENGINE = ReplicatedAggregatingMergeTree('/clickhouse/tables/prod/{shard}/meterhouse/gauges_60s_local', '{replica}')
PARTITION BY (retention_days, toMonday(timestamp))
ORDER BY (org_id, project_id, metric_id, toStartOfDay(timestamp), series_id, timestamp)
TTL timestamp + toIntervalDay(retention_days)
SETTINGS replicated_deduplication_window = 100000, replicated_deduplication_window_seconds = 604800, replicated_deduplication_window_for_async_inserts = 100000, replicated_deduplication_window_seconds_for_async_inserts = 604800, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `meterhouse`.`gauges_60s` ON CLUSTER `prod`
AS `meterhouse`.`gauges_60s_local`
ENGINE = Distributed('prod', 'meterhouse', 'gauges_60s_local', series_id);

CREATE TABLE IF NOT EXISTS `meterhouse`.`gauges_1h_local` ON CLUSTER `prod`
(
    `org_id` UInt32 CODEC(LZ4),
    `project_id` UInt32 CODEC(LZ4),
    `metric_id` UInt64 CODEC(ZSTD(1)),
    `series_id` UInt64 CODEC(ZSTD(1)),
    `timestamp` DateTime('UTC') CODEC(Delta, LZ4),
    `retention_days` UInt16 CODEC(LZ4),
    `last` SimpleAggregateFunction(max, Tuple(DateTime64(3, 'UTC'), Float64)) CODEC(ZSTD(1)),
    `min` SimpleAggregateFunction(min, Float64) CODEC(ALP, ZSTD(1)),
    `max` SimpleAggregateFunction(max, Float64) CODEC(ALP, ZSTD(1)),
    `sum` SimpleAggregateFunction(sum, Float64) CODEC(ALP, ZSTD(1)),
    `count` SimpleAggregateFunction(sum, Float64) CODEC(ALP, ZSTD(1))
)
ENGINE = ReplicatedAggregatingMergeTree('/clickhouse/tables/prod/{shard}/meterhouse/gauges_1h_local', '{replica}')
PARTITION BY (retention_days, toStartOfMonth(timestamp))
ORDER BY (org_id, project_id, metric_id, series_id, timestamp)
TTL timestamp + toIntervalDay(retention_days)
SETTINGS replicated_deduplication_window = 100000, replicated_deduplication_window_seconds = 604800, replicated_deduplication_window_for_async_inserts = 100000, replicated_deduplication_window_seconds_for_async_inserts = 604800, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `meterhouse`.`gauges_1h` ON CLUSTER `prod`
AS `meterhouse`.`gauges_1h_local`
ENGINE = Distributed('prod', 'meterhouse', 'gauges_1h_local', series_id);

CREATE TABLE IF NOT EXISTS `meterhouse`.`gauges_1d_local` ON CLUSTER `prod`
(
    `org_id` UInt32 CODEC(LZ4),
    `project_id` UInt32 CODEC(LZ4),
    `metric_id` UInt64 CODEC(ZSTD(1)),
    `series_id` UInt64 CODEC(ZSTD(1)),
    `timestamp` DateTime('UTC') CODEC(Delta, LZ4),
    `retention_days` UInt16 CODEC(LZ4),
    `last` SimpleAggregateFunction(max, Tuple(DateTime64(3, 'UTC'), Float64)) CODEC(ZSTD(1)),
    `min` SimpleAggregateFunction(min, Float64) CODEC(ALP, ZSTD(1)),
    `max` SimpleAggregateFunction(max, Float64) CODEC(ALP, ZSTD(1)),
    `sum` SimpleAggregateFunction(sum, Float64) CODEC(ALP, ZSTD(1)),
    `count` SimpleAggregateFunction(sum, Float64) CODEC(ALP, ZSTD(1))
)
ENGINE = ReplicatedAggregatingMergeTree('/clickhouse/tables/prod/{shard}/meterhouse/gauges_1d_local', '{replica}')
PARTITION BY (retention_days, toStartOfYear(timestamp))
ORDER BY (org_id, project_id, metric_id, series_id, timestamp)
TTL timestamp + toIntervalDay(retention_days)
SETTINGS replicated_deduplication_window = 100000, replicated_deduplication_window_seconds = 604800, replicated_deduplication_window_for_async_inserts = 100000, replicated_deduplication_window_seconds_for_async_inserts = 604800, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `meterhouse`.`gauges_1d` ON CLUSTER `prod`
AS `meterhouse`.`gauges_1d_local`
ENGINE = Distributed('prod', 'meterhouse', 'gauges_1d_local', series_id);

CREATE TABLE IF NOT EXISTS `meterhouse`.`distributions_10s_local` ON CLUSTER `prod`
(
    `org_id` UInt32 CODEC(LZ4),
    `project_id` UInt32 CODEC(LZ4),
    `metric_id` UInt64 CODEC(ZSTD(1)),
    `series_id` UInt64 CODEC(ZSTD(1)),
    `timestamp` DateTime('UTC') CODEC(Delta, LZ4),
    `retention_days` UInt16 CODEC(LZ4),
    `positive` SimpleAggregateFunction(sumMap, Map(Int32, Float64)) CODEC(ZSTD(1)),
    `negative` SimpleAggregateFunction(sumMap, Map(Int32, Float64)) CODEC(ZSTD(1)),
    `zero` SimpleAggregateFunction(sum, Float64) CODEC(ALP, ZSTD(1)),
    `count` SimpleAggregateFunction(sum, Float64) CODEC(ALP, ZSTD(1)),
    `sum` SimpleAggregateFunction(sum, Float64) CODEC(ALP, ZSTD(1)),
    `sum_squares` SimpleAggregateFunction(sum, Float64) CODEC(ALP, ZSTD(1)),
    `min` SimpleAggregateFunction(min, Float64) CODEC(ALP, ZSTD(1)),
    `max` SimpleAggregateFunction(max, Float64) CODEC(ALP, ZSTD(1))
)
ENGINE = ReplicatedAggregatingMergeTree('/clickhouse/tables/prod/{shard}/meterhouse/distributions_10s_local', '{replica}')
PARTITION BY (retention_days, toDate(timestamp))
ORDER BY (org_id, project_id, metric_id, toStartOfHour(timestamp), series_id, timestamp)
TTL timestamp + toIntervalDay(retention_days)
SETTINGS replicated_deduplication_window = 100000, replicated_deduplication_window_seconds = 604800, replicated_deduplication_window_for_async_inserts = 100000, replicated_deduplication_window_seconds_for_async_inserts = 604800, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `meterhouse`.`distributions_10s` ON CLUSTER `prod`
AS `meterhouse`.`distributions_10s_local`
ENGINE = Distributed('prod', 'meterhouse', 'distributions_10s_local', series_id);

CREATE TABLE IF NOT EXISTS `meterhouse`.`distributions_60s_local` ON CLUSTER `prod`
(
    `org_id` UInt32 CODEC(LZ4),
    `project_id` UInt32 CODEC(LZ4),
    `metric_id` UInt64 CODEC(ZSTD(1)),
    `series_id` UInt64 CODEC(ZSTD(1)),
    `timestamp` DateTime('UTC') CODEC(Delta, LZ4),
    `retention_days` UInt16 CODEC(LZ4),
    `positive` SimpleAggregateFunction(sumMap, Map(Int32, Float64)) CODEC(ZSTD(1)),
    `negative` SimpleAggregateFunction(sumMap, Map(Int32, Float64)) CODEC(ZSTD(1)),
    `zero` SimpleAggregateFunction(sum, Float64) CODEC(ALP, ZSTD(1)),
    `count` SimpleAggregateFunction(sum, Float64) CODEC(ALP, ZSTD(1)),
    `sum` SimpleAggregateFunction(sum, Float64) CODEC(ALP, ZSTD(1)),
    `sum_squares` SimpleAggregateFunction(sum, Float64) CODEC(ALP, ZSTD(1)),
    `min` SimpleAggregateFunction(min, Float64) CODEC(ALP, ZSTD(1)),
    `max` SimpleAggregateFunction(max, Float64) CODEC(ALP, ZSTD(1))
)
ENGINE = ReplicatedAggregatingMergeTree('/clickhouse/tables/prod/{shard}/meterhouse/distributions_60s_local', '{replica}')
PARTITION BY (retention_days, toMonday(timestamp))
ORDER BY (org_id, project_id, metric_id, toStartOfDay(timestamp), series_id, timestamp)
TTL timestamp + toIntervalDay(retention_days)
SETTINGS replicated_deduplication_window = 100000, replicated_deduplication_window_seconds = 604800, replicated_deduplication_window_for_async_inserts = 100000, replicated_deduplication_window_seconds_for_async_inserts = 604800, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `meterhouse`.`distributions_60s` ON CLUSTER `prod`
AS `meterhouse`.`distributions_60s_local`
ENGINE = Distributed('prod', 'meterhouse', 'distributions_60s_local', series_id);

CREATE TABLE IF NOT EXISTS `meterhouse`.`distributions_1h_local` ON CLUSTER `prod`
(
    `org_id` UInt32 CODEC(LZ4),
    `project_id` UInt32 CODEC(LZ4),
    `metric_id` UInt64 CODEC(ZSTD(1)),
    `series_id` UInt64 CODEC(ZSTD(1)),
    `timestamp` DateTime('UTC') CODEC(Delta, LZ4),
    `retention_days` UInt16 CODEC(LZ4),
    `positive` SimpleAggregateFunction(sumMap, Map(Int32, Float64)) CODEC(ZSTD(1)),
    `negative` SimpleAggregateFunction(sumMap, Map(Int32, Float64)) CODEC(ZSTD(1)),
    `zero` SimpleAggregateFunction(sum, Float64) CODEC(ALP, ZSTD(1)),
    `count` SimpleAggregateFunction(sum, Float64) CODEC(ALP, ZSTD(1)),
    `sum` SimpleAggregateFunction(sum, Float64) CODEC(ALP, ZSTD(1)),
    `sum_squares` SimpleAggregateFunction(sum, Float64) CODEC(ALP, ZSTD(1)),
    `min` SimpleAggregateFunction(min, Float64) CODEC(ALP, ZSTD(1)),
    `max` SimpleAggregateFunction(max, Float64) CODEC(ALP, ZSTD(1))
)
ENGINE = ReplicatedAggregatingMergeTree('/clickhouse/tables/prod/{shard}/meterhouse/distributions_1h_local', '{replica}')
PARTITION BY (retention_days, toStartOfMonth(timestamp))
ORDER BY (org_id, project_id, metric_id, series_id, timestamp)
TTL timestamp + toIntervalDay(retention_days)
SETTINGS replicated_deduplication_window = 100000, replicated_deduplication_window_seconds = 604800, replicated_deduplication_window_for_async_inserts = 100000, replicated_deduplication_window_seconds_for_async_inserts = 604800, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `meterhouse`.`distributions_1h` ON CLUSTER `prod`
AS `meterhouse`.`distributions_1h_local`
ENGINE = Distributed('prod', 'meterhouse', 'distributions_1h_local', series_id);

CREATE TABLE IF NOT EXISTS `meterhouse`.`distributions_1d_local` ON CLUSTER `prod`
(
    `org_id` UInt32 CODEC(LZ4),
    `project_id` UInt32 CODEC(LZ4),
    `metric_id` UInt64 CODEC(ZSTD(1)),
    `series_id` UInt64 CODEC(ZSTD(1)),
    `timestamp` DateTime('UTC') CODEC(Delta, LZ4),
    `retention_days` UInt16 CODEC(LZ4),
    `positive` SimpleAggregateFunction(sumMap, Map(Int32, Float64)) CODEC(ZSTD(1)),
    `negative` SimpleAggregateFunction(sumMap, Map(Int32, Float64)) CODEC(ZSTD(1)),
    `zero` SimpleAggregateFunction(sum, Float64) CODEC(ALP, ZSTD(1)),
    `count` SimpleAggregateFunction(sum, Float64) CODEC(ALP, ZSTD(1)),
    `sum` SimpleAggregateFunction(sum, Float64) CODEC(ALP, ZSTD(1)),
    `sum_squares` SimpleAggregateFunction(sum, Float64) CODEC(ALP, ZSTD(1)),
    `min` SimpleAggregateFunction(min, Float64) CODEC(ALP, ZSTD(1)),
    `max` SimpleAggregateFunction(max, Float64) CODEC(ALP, ZSTD(1))
)
ENGINE = ReplicatedAggregatingMergeTree('/clickhouse/tables/prod/{shard}/meterhouse/distributions_1d_local', '{replica}')
PARTITION BY (retention_days, toStartOfYear(timestamp))
ORDER BY (org_id, project_id, metric_id, series_id, timestamp)
TTL timestamp + toIntervalDay(retention_days)
SETTINGS replicated_deduplication_window = 100000, replicated_deduplication_window_seconds = 604800, replicated_deduplication_window_for_async_inserts = 100000, replicated_deduplication_window_seconds_for_async_inserts = 604800, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `meterhouse`.`distributions_1d` ON CLUSTER `prod`
AS `meterhouse`.`distributions_1d_local`
ENGINE = Distributed('prod', 'meterhouse', 'distributions_1d_local', series_id);

CREATE TABLE IF NOT EXISTS `meterhouse`.`sets_10s_local` ON CLUSTER `prod`
(
    `org_id` UInt32 CODEC(LZ4),
    `project_id` UInt32 CODEC(LZ4),
    `metric_id` UInt64 CODEC(ZSTD(1)),
    `series_id` UInt64 CODEC(ZSTD(1)),
    `timestamp` DateTime('UTC') CODEC(Delta, LZ4),
    `retention_days` UInt16 CODEC(LZ4),
    `members` AggregateFunction(uniqCombined64, UInt64) CODEC(ZSTD(1))
)
ENGINE = ReplicatedAggregatingMergeTree('/clickhouse/tables/prod/{shard}/meterhouse/sets_10s_local', '{replica}')
PARTITION BY (retention_days, toDate(timestamp))
ORDER BY (org_id, project_id, metric_id, toStartOfHour(timestamp), series_id, timestamp)
TTL timestamp + toIntervalDay(retention_days)
SETTINGS replicated_deduplication_window = 100000, replicated_deduplication_window_seconds = 604800, replicated_deduplication_window_for_async_inserts = 100000, replicated_deduplication_window_seconds_for_async_inserts = 604800, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `meterhouse`.`sets_10s` ON CLUSTER `prod`
AS `meterhouse`.`sets_10s_local`
ENGINE = Distributed('prod', 'meterhouse', 'sets_10s_local', series_id);

CREATE TABLE IF NOT EXISTS `meterhouse`.`sets_60s_local` ON CLUSTER `prod`
(
    `org_id` UInt32 CODEC(LZ4),
    `project_id` UInt32 CODEC(LZ4),
    `metric_id` UInt64 CODEC(ZSTD(1)),
    `series_id` UInt64 CODEC(ZSTD(1)),
    `timestamp` DateTime('UTC') CODEC(Delta, LZ4),
    `retention_days` UInt16 CODEC(LZ4),
    `members` AggregateFunction(uniqCombined64, UInt64) CODEC(ZSTD(1))
)
ENGINE = ReplicatedAggregatingMergeTree('/clickhouse/tables/prod/{shard}/meterhouse/sets_60s_local', '{replica}')
PARTITION BY (retention_days, toMonday(timestamp))
ORDER BY (org_id, project_id, metric_id, toStartOfDay(timestamp), series_id, timestamp)
TTL timestamp + toIntervalDay(retention_days)
SETTINGS replicated_deduplication_window = 100000, replicated_deduplication_window_seconds = 604800, replicated_deduplication_window_for_async_inserts = 100000, replicated_deduplication_window_seconds_for_async_inserts = 604800, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `meterhouse`.`sets_60s` ON CLUSTER `prod`
AS `meterhouse`.`sets_60s_local`
ENGINE = Distributed('prod', 'meterhouse', 'sets_60s_local', series_id);

CREATE TABLE IF NOT EXISTS `meterhouse`.`sets_1h_local` ON CLUSTER `prod`
(
    `org_id` UInt32 CODEC(LZ4),
    `project_id` UInt32 CODEC(LZ4),
    `metric_id` UInt64 CODEC(ZSTD(1)),
    `series_id` UInt64 CODEC(ZSTD(1)),
    `timestamp` DateTime('UTC') CODEC(Delta, LZ4),
    `retention_days` UInt16 CODEC(LZ4),
    `members` AggregateFunction(uniqCombined64, UInt64) CODEC(ZSTD(1))
)
ENGINE = ReplicatedAggregatingMergeTree('/clickhouse/tables/prod/{shard}/meterhouse/sets_1h_local', '{replica}')
PARTITION BY (retention_days, toStartOfMonth(timestamp))
ORDER BY (org_id, project_id, metric_id, series_id, timestamp)
TTL timestamp + toIntervalDay(retention_days)
SETTINGS replicated_deduplication_window = 100000, replicated_deduplication_window_seconds = 604800, replicated_deduplication_window_for_async_inserts = 100000, replicated_deduplication_window_seconds_for_async_inserts = 604800, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `meterhouse`.`sets_1h` ON CLUSTER `prod`
AS `meterhouse`.`sets_1h_local`
ENGINE = Distributed('prod', 'meterhouse', 'sets_1h_local', series_id);

CREATE TABLE IF NOT EXISTS `meterhouse`.`sets_1d_local` ON CLUSTER `prod`
(
    `org_id` UInt32 CODEC(LZ4),
    `project_id` UInt32 CODEC(LZ4),
    `metric_id` UInt64 CODEC(ZSTD(1)),
    `series_id` UInt64 CODEC(ZSTD(1)),
    `timestamp` DateTime('UTC') CODEC(Delta, LZ4),
    `retention_days` UInt16 CODEC(LZ4),
    `members` AggregateFunction(uniqCombined64, UInt64) CODEC(ZSTD(1))
)
ENGINE = ReplicatedAggregatingMergeTree('/clickhouse/tables/prod/{shard}/meterhouse/sets_1d_local', '{replica}')
PARTITION BY (retention_days, toStartOfYear(timestamp))
ORDER BY (org_id, project_id, metric_id, series_id, timestamp)
TTL timestamp + toIntervalDay(retention_days)
SETTINGS replicated_deduplication_window = 100000, replicated_deduplication_window_seconds = 604800, replicated_deduplication_window_for_async_inserts = 100000, replicated_deduplication_window_seconds_for_async_inserts = 604800, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `meterhouse`.`sets_1d` ON CLUSTER `prod`
AS `meterhouse`.`sets_1d_local`
ENGINE = Distributed('prod', 'meterhouse', 'sets_1d_local', series_id);

CREATE TABLE IF NOT EXISTS `meterhouse`.`metric_metadata_local` ON CLUSTER `prod`
(
    `org_id` UInt32 CODEC(LZ4),
    `project_id` UInt32 CODEC(LZ4),
    `name` String CODEC(ZSTD(1)),
    `help` String CODEC(ZSTD(1)),
    `unit` String CODEC(ZSTD(1)),
    `buckets` Array(Float64) CODEC(ZSTD(1)),
    `updated_ms` UInt64 CODEC(ZSTD(1))
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/prod/{shard}/meterhouse/metric_metadata_local', '{replica}', `updated_ms`)
ORDER BY (org_id, project_id, name)
TTL toDateTime(intDiv(updated_ms, 1000), 'UTC') + toIntervalDay(1830)
SETTINGS replicated_deduplication_window = 0, replicated_deduplication_window_for_async_inserts = 0;

CREATE TABLE IF NOT EXISTS `meterhouse`.`metric_metadata` ON CLUSTER `prod`
AS `meterhouse`.`metric_metadata_local`
ENGINE = Distributed('prod', 'meterhouse', 'metric_metadata_local', cityHash64(name));

CREATE TABLE IF NOT EXISTS `meterhouse`.`heartbeats_local` ON CLUSTER `prod`
(
    `org_id` UInt32 CODEC(LZ4),
    `project_id` UInt32 CODEC(LZ4),
    `agent` String CODEC(ZSTD(1)),
    `epoch` UInt64 CODEC(ZSTD(1)),
    `flushed_until_ms` SimpleAggregateFunction(max, Int64) CODEC(ZSTD(1)),
    `heard_ms` SimpleAggregateFunction(max, Int64) CODEC(ZSTD(1)),
    `ended` SimpleAggregateFunction(max, UInt8) CODEC(ZSTD(1))
)
ENGINE = ReplicatedAggregatingMergeTree('/clickhouse/tables/prod/{shard}/meterhouse/heartbeats_local', '{replica}')
ORDER BY (org_id, project_id, agent, epoch)
TTL toDateTime(intDiv(heard_ms, 1000), 'UTC') + toIntervalHour(1)
SETTINGS replicated_deduplication_window = 0, replicated_deduplication_window_for_async_inserts = 0;

CREATE TABLE IF NOT EXISTS `meterhouse`.`heartbeats` ON CLUSTER `prod`
AS `meterhouse`.`heartbeats_local`
ENGINE = Distributed('prod', 'meterhouse', 'heartbeats_local', epoch);

CREATE TABLE IF NOT EXISTS `meterhouse`.`retention_eras_local` ON CLUSTER `prod`
(
    `since_ms` UInt64,
    `days_10s` UInt16,
    `days_60s` UInt16,
    `days_1h` UInt16,
    `days_1d` UInt16,
    `steps` Array(UInt16),
    `noted_at` DateTime64(3, 'UTC')
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/prod/{shard}/meterhouse/retention_eras_local', '{replica}')
ORDER BY (since_ms)
SETTINGS replicated_deduplication_window = 100000, replicated_deduplication_window_seconds = 604800, replicated_deduplication_window_for_async_inserts = 100000, replicated_deduplication_window_seconds_for_async_inserts = 604800;

CREATE TABLE IF NOT EXISTS `meterhouse`.`retention_eras` ON CLUSTER `prod`
AS `meterhouse`.`retention_eras_local`
ENGINE = Distributed('prod', 'meterhouse', 'retention_eras_local', since_ms);

CREATE TABLE IF NOT EXISTS `meterhouse`.`incoming_counters_local` ON CLUSTER `prod`
(
    `org_id` UInt32,
    `project_id` UInt32,
    `metric_id` UInt64,
    `series_id` UInt64,
    `bucket` UInt32,
    `days_10s` UInt16,
    `days_60s` UInt16,
    `days_1h` UInt16,
    `days_1d` UInt16,
    `value` Float64
)
ENGINE = Null;

CREATE TABLE IF NOT EXISTS `meterhouse`.`incoming_counters` ON CLUSTER `prod`
AS `meterhouse`.`incoming_counters_local`
ENGINE = Distributed('prod', 'meterhouse', 'incoming_counters_local', series_id);

CREATE MATERIALIZED VIEW IF NOT EXISTS `meterhouse`.`incoming_counters_10s_view_local` ON CLUSTER `prod`
TO `meterhouse`.`counters_10s_local`
AS SELECT
    org_id,
    project_id,
    metric_id,
    series_id,
    toDateTime(intDiv(bucket, 10) * 10, 'UTC') AS timestamp,
    days_10s AS retention_days,
    value
FROM `meterhouse`.`incoming_counters_local`;

CREATE MATERIALIZED VIEW IF NOT EXISTS `meterhouse`.`incoming_counters_60s_view_local` ON CLUSTER `prod`
TO `meterhouse`.`counters_60s_local`
AS SELECT
    org_id,
    project_id,
    metric_id,
    series_id,
    toDateTime(intDiv(bucket, 60) * 60, 'UTC') AS timestamp,
    days_60s AS retention_days,
    value
FROM `meterhouse`.`incoming_counters_local`;

CREATE MATERIALIZED VIEW IF NOT EXISTS `meterhouse`.`incoming_counters_1h_view_local` ON CLUSTER `prod`
TO `meterhouse`.`counters_1h_local`
AS SELECT
    org_id,
    project_id,
    metric_id,
    series_id,
    toDateTime(intDiv(bucket, 3600) * 3600, 'UTC') AS timestamp,
    days_1h AS retention_days,
    value
FROM `meterhouse`.`incoming_counters_local`;

CREATE MATERIALIZED VIEW IF NOT EXISTS `meterhouse`.`incoming_counters_1d_view_local` ON CLUSTER `prod`
TO `meterhouse`.`counters_1d_local`
AS SELECT
    org_id,
    project_id,
    metric_id,
    series_id,
    toDateTime(intDiv(bucket, 86400) * 86400, 'UTC') AS timestamp,
    days_1d AS retention_days,
    value
FROM `meterhouse`.`incoming_counters_local`;

CREATE TABLE IF NOT EXISTS `meterhouse`.`incoming_gauges_local` ON CLUSTER `prod`
(
    `org_id` UInt32,
    `project_id` UInt32,
    `metric_id` UInt64,
    `series_id` UInt64,
    `bucket` UInt32,
    `days_10s` UInt16,
    `days_60s` UInt16,
    `days_1h` UInt16,
    `days_1d` UInt16,
    `last_ms` Int64,
    `last` Float64,
    `min` Float64,
    `max` Float64,
    `sum` Float64,
    `count` Float64
)
ENGINE = Null;

CREATE TABLE IF NOT EXISTS `meterhouse`.`incoming_gauges` ON CLUSTER `prod`
AS `meterhouse`.`incoming_gauges_local`
ENGINE = Distributed('prod', 'meterhouse', 'incoming_gauges_local', series_id);

CREATE MATERIALIZED VIEW IF NOT EXISTS `meterhouse`.`incoming_gauges_10s_view_local` ON CLUSTER `prod`
TO `meterhouse`.`gauges_10s_local`
AS SELECT
    org_id,
    project_id,
    metric_id,
    series_id,
    toDateTime(intDiv(bucket, 10) * 10, 'UTC') AS timestamp,
    days_10s AS retention_days,
    (fromUnixTimestamp64Milli(last_ms, 'UTC'), last) AS last,
    min,
    max,
    sum,
    count
FROM `meterhouse`.`incoming_gauges_local`;

CREATE MATERIALIZED VIEW IF NOT EXISTS `meterhouse`.`incoming_gauges_60s_view_local` ON CLUSTER `prod`
TO `meterhouse`.`gauges_60s_local`
AS SELECT
    org_id,
    project_id,
    metric_id,
    series_id,
    toDateTime(intDiv(bucket, 60) * 60, 'UTC') AS timestamp,
    days_60s AS retention_days,
    (fromUnixTimestamp64Milli(last_ms, 'UTC'), last) AS last,
    min,
    max,
    sum,
    count
FROM `meterhouse`.`incoming_gauges_local`;

CREATE MATERIALIZED VIEW IF NOT EXISTS `meterhouse`.`incoming_gauges_1h_view_local` ON CLUSTER `prod`
TO `meterhouse`.`gauges_1h_local`
AS SELECT
    org_id,
    project_id,
    metric_id,
    series_id,
    toDateTime(intDiv(bucket, 3600) * 3600, 'UTC') AS timestamp,
    days_1h AS retention_days,
    (fromUnixTimestamp64Milli(last_ms, 'UTC'), last) AS last,
    min,
    max,
    sum,
    count
FROM `meterhouse`.`incoming_gauges_local`;

CREATE MATERIALIZED VIEW IF NOT EXISTS `meterhouse`.`incoming_gauges_1d_view_local` ON CLUSTER `prod`
TO `meterhouse`.`gauges_1d_local`
AS SELECT
    org_id,
    project_id,
    metric_id,
    series_id,
    toDateTime(intDiv(bucket, 86400) * 86400, 'UTC') AS timestamp,
    days_1d AS retention_days,
    (fromUnixTimestamp64Milli(last_ms, 'UTC'), last) AS last,
    min,
    max,
    sum,
    count
FROM `meterhouse`.`incoming_gauges_local`;

CREATE TABLE IF NOT EXISTS `meterhouse`.`incoming_distributions_local` ON CLUSTER `prod`
(
    `org_id` UInt32,
    `project_id` UInt32,
    `metric_id` UInt64,
    `series_id` UInt64,
    `bucket` UInt32,
    `days_10s` UInt16,
    `days_60s` UInt16,
    `days_1h` UInt16,
    `days_1d` UInt16,
    `positive_index` Array(Int32),
    `positive_count` Array(Float64),
    `negative_index` Array(Int32),
    `negative_count` Array(Float64),
    `zero` Float64,
    `count` Float64,
    `sum` Float64,
    `sum_squares` Float64,
    `min` Float64,
    `max` Float64
)
ENGINE = Null;

CREATE TABLE IF NOT EXISTS `meterhouse`.`incoming_distributions` ON CLUSTER `prod`
AS `meterhouse`.`incoming_distributions_local`
ENGINE = Distributed('prod', 'meterhouse', 'incoming_distributions_local', series_id);

CREATE MATERIALIZED VIEW IF NOT EXISTS `meterhouse`.`incoming_distributions_10s_view_local` ON CLUSTER `prod`
TO `meterhouse`.`distributions_10s_local`
AS SELECT
    org_id,
    project_id,
    metric_id,
    series_id,
    toDateTime(intDiv(bucket, 10) * 10, 'UTC') AS timestamp,
    days_10s AS retention_days,
    mapFromArrays(positive_index, positive_count) AS positive,
    mapFromArrays(negative_index, negative_count) AS negative,
    zero,
    count,
    sum,
    sum_squares,
    min,
    max
FROM `meterhouse`.`incoming_distributions_local`;

CREATE MATERIALIZED VIEW IF NOT EXISTS `meterhouse`.`incoming_distributions_60s_view_local` ON CLUSTER `prod`
TO `meterhouse`.`distributions_60s_local`
AS SELECT
    org_id,
    project_id,
    metric_id,
    series_id,
    toDateTime(intDiv(bucket, 60) * 60, 'UTC') AS timestamp,
    days_60s AS retention_days,
    mapFromArrays(positive_index, positive_count) AS positive,
    mapFromArrays(negative_index, negative_count) AS negative,
    zero,
    count,
    sum,
    sum_squares,
    min,
    max
FROM `meterhouse`.`incoming_distributions_local`;

CREATE MATERIALIZED VIEW IF NOT EXISTS `meterhouse`.`incoming_distributions_1h_view_local` ON CLUSTER `prod`
TO `meterhouse`.`distributions_1h_local`
AS SELECT
    org_id,
    project_id,
    metric_id,
    series_id,
    toDateTime(intDiv(bucket, 3600) * 3600, 'UTC') AS timestamp,
    days_1h AS retention_days,
    mapFromArrays(positive_index, positive_count) AS positive,
    mapFromArrays(negative_index, negative_count) AS negative,
    zero,
    count,
    sum,
    sum_squares,
    min,
    max
FROM `meterhouse`.`incoming_distributions_local`;

CREATE MATERIALIZED VIEW IF NOT EXISTS `meterhouse`.`incoming_distributions_1d_view_local` ON CLUSTER `prod`
TO `meterhouse`.`distributions_1d_local`
AS SELECT
    org_id,
    project_id,
    metric_id,
    series_id,
    toDateTime(intDiv(bucket, 86400) * 86400, 'UTC') AS timestamp,
    days_1d AS retention_days,
    mapFromArrays(positive_index, positive_count) AS positive,
    mapFromArrays(negative_index, negative_count) AS negative,
    zero,
    count,
    sum,
    sum_squares,
    min,
    max
FROM `meterhouse`.`incoming_distributions_local`;

CREATE TABLE IF NOT EXISTS `meterhouse`.`incoming_sets_local` ON CLUSTER `prod`
(
    `org_id` UInt32,
    `project_id` UInt32,
    `metric_id` UInt64,
    `series_id` UInt64,
    `bucket` UInt32,
    `days_10s` UInt16,
    `days_60s` UInt16,
    `days_1h` UInt16,
    `days_1d` UInt16,
    `member` Array(UInt64)
)
ENGINE = Null;

CREATE TABLE IF NOT EXISTS `meterhouse`.`incoming_sets` ON CLUSTER `prod`
AS `meterhouse`.`incoming_sets_local`
ENGINE = Distributed('prod', 'meterhouse', 'incoming_sets_local', series_id);

CREATE MATERIALIZED VIEW IF NOT EXISTS `meterhouse`.`incoming_sets_10s_view_local` ON CLUSTER `prod`
TO `meterhouse`.`sets_10s_local`
AS SELECT
    org_id,
    project_id,
    metric_id,
    series_id,
    toDateTime(intDiv(bucket, 10) * 10, 'UTC') AS timestamp,
    days_10s AS retention_days,
    arrayReduce('uniqCombined64State', member) AS members
FROM `meterhouse`.`incoming_sets_local`;

CREATE MATERIALIZED VIEW IF NOT EXISTS `meterhouse`.`incoming_sets_60s_view_local` ON CLUSTER `prod`
TO `meterhouse`.`sets_60s_local`
AS SELECT
    org_id,
    project_id,
    metric_id,
    series_id,
    toDateTime(intDiv(bucket, 60) * 60, 'UTC') AS timestamp,
    days_60s AS retention_days,
    arrayReduce('uniqCombined64State', member) AS members
FROM `meterhouse`.`incoming_sets_local`;

CREATE MATERIALIZED VIEW IF NOT EXISTS `meterhouse`.`incoming_sets_1h_view_local` ON CLUSTER `prod`
TO `meterhouse`.`sets_1h_local`
AS SELECT
    org_id,
    project_id,
    metric_id,
    series_id,
    toDateTime(intDiv(bucket, 3600) * 3600, 'UTC') AS timestamp,
    days_1h AS retention_days,
    arrayReduce('uniqCombined64State', member) AS members
FROM `meterhouse`.`incoming_sets_local`;

CREATE MATERIALIZED VIEW IF NOT EXISTS `meterhouse`.`incoming_sets_1d_view_local` ON CLUSTER `prod`
TO `meterhouse`.`sets_1d_local`
AS SELECT
    org_id,
    project_id,
    metric_id,
    series_id,
    toDateTime(intDiv(bucket, 86400) * 86400, 'UTC') AS timestamp,
    days_1d AS retention_days,
    arrayReduce('uniqCombined64State', member) AS members
FROM `meterhouse`.`incoming_sets_local`;

ALTER TABLE `meterhouse`.`series_local` ON CLUSTER `prod`
MODIFY SETTING replicated_deduplication_window = 0, replicated_deduplication_window_for_async_inserts = 0;

ALTER TABLE `meterhouse`.`strings_local` ON CLUSTER `prod`
MODIFY SETTING replicated_deduplication_window = 0, replicated_deduplication_window_for_async_inserts = 0;

ALTER TABLE `meterhouse`.`metric_tag_keys_local` ON CLUSTER `prod`
MODIFY SETTING replicated_deduplication_window = 0, replicated_deduplication_window_for_async_inserts = 0;

ALTER TABLE `meterhouse`.`metric_tag_values_local` ON CLUSTER `prod`
MODIFY SETTING replicated_deduplication_window = 0, replicated_deduplication_window_for_async_inserts = 0;

ALTER TABLE `meterhouse`.`metric_metadata_local` ON CLUSTER `prod`
MODIFY SETTING replicated_deduplication_window = 0, replicated_deduplication_window_for_async_inserts = 0;

ALTER TABLE `meterhouse`.`heartbeats_local` ON CLUSTER `prod`
MODIFY SETTING replicated_deduplication_window = 0, replicated_deduplication_window_for_async_inserts = 0;

ALTER TABLE `meterhouse`.`strings_local` ON CLUSTER `prod`
ADD COLUMN IF NOT EXISTS `day` Date DEFAULT today() CODEC(ZSTD(1));

ALTER TABLE `meterhouse`.`strings` ON CLUSTER `prod`
ADD COLUMN IF NOT EXISTS `day` Date DEFAULT today() CODEC(ZSTD(1));

ALTER TABLE `meterhouse`.`strings_local` ON CLUSTER `prod`
MODIFY TTL day + toIntervalDay(1860);

CREATE TABLE IF NOT EXISTS `meterhouse`.`identities_local` ON CLUSTER `prod`
(
    `source` String CODEC(ZSTD(1)),
    `block` UInt64 CODEC(Delta, ZSTD(1)),
    `mask` SimpleAggregateFunction(groupBitOr, UInt64) CODEC(ZSTD(1)),
    `last_ms` SimpleAggregateFunction(max, UInt64) CODEC(ZSTD(1)),
    `expires` Date CODEC(ZSTD(1))
)
ENGINE = ReplicatedAggregatingMergeTree('/clickhouse/tables/prod/{shard}/meterhouse/identities_local', '{replica}')
PARTITION BY expires
ORDER BY (source, block)
TTL expires
SETTINGS replicated_deduplication_window = 0, replicated_deduplication_window_for_async_inserts = 0, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `meterhouse`.`identities` ON CLUSTER `prod`
AS `meterhouse`.`identities_local`
ENGINE = Distributed('prod', 'meterhouse', 'identities_local', cityHash64(source));

CREATE TABLE IF NOT EXISTS `meterhouse`.`subscriptions_local` ON CLUSTER `prod`
(
    `org_id` UInt32 CODEC(LZ4),
    `project_id` UInt32 CODEC(LZ4),
    `id` String CODEC(ZSTD(1)),
    `dataset` String CODEC(ZSTD(1)),
    `entity` String CODEC(ZSTD(1)),
    `query` String CODEC(ZSTD(1)),
    `time_window_s` UInt32 CODEC(LZ4),
    `resolution_s` UInt32 CODEC(LZ4),
    `since_s` UInt32 CODEC(LZ4),
    `removed` UInt8 CODEC(LZ4),
    `noted_ms` UInt64 CODEC(LZ4),
    `webhook` String CODEC(ZSTD(1))
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/prod/{shard}/meterhouse/subscriptions_local', '{replica}', `noted_ms`)
ORDER BY (org_id, project_id, id)
SETTINGS replicated_deduplication_window = 0, replicated_deduplication_window_for_async_inserts = 0;

CREATE TABLE IF NOT EXISTS `meterhouse`.`subscriptions` ON CLUSTER `prod`
AS `meterhouse`.`subscriptions_local`
ENGINE = Distributed('prod', 'meterhouse', 'subscriptions_local', cityHash64(id));

CREATE TABLE IF NOT EXISTS `meterhouse`.`subscription_results_local` ON CLUSTER `prod`
(
    `org_id` UInt32 CODEC(LZ4),
    `project_id` UInt32 CODEC(LZ4),
    `id` String CODEC(ZSTD(1)),
    `tick_s` UInt32 CODEC(Delta, LZ4),
    `payload` String CODEC(ZSTD(1)),
    `precedence` UInt64 CODEC(ZSTD(1))
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/prod/{shard}/meterhouse/subscription_results_local', '{replica}', `precedence`)
ORDER BY (org_id, project_id, id, tick_s)
TTL toDateTime(tick_s, 'UTC') + toIntervalDay(30)
SETTINGS replicated_deduplication_window = 0, replicated_deduplication_window_for_async_inserts = 0;

CREATE TABLE IF NOT EXISTS `meterhouse`.`subscription_results` ON CLUSTER `prod`
AS `meterhouse`.`subscription_results_local`
ENGINE = Distributed('prod', 'meterhouse', 'subscription_results_local', cityHash64(id));

CREATE VIEW IF NOT EXISTS `meterhouse`.`metrics_counters_v2_local` ON CLUSTER `prod`
AS SELECT
    org_id,
    project_id,
    metric_id,
    series_id,
    timestamp,
    timestamp AS bucketed_time,
    toUInt32(10) AS granularity,
    initializeAggregation('sumState', toFloat64(value)) AS value
FROM `meterhouse`.`counters_10s`;

CREATE TABLE IF NOT EXISTS `meterhouse`.`stream_commits_local` ON CLUSTER `prod`
(
    `source` LowCardinality(String),
    `stream` String CODEC(ZSTD(1)),
    `group` String CODEC(ZSTD(1)),
    `partition` UInt64 CODEC(LZ4),
    `first` String CODEC(ZSTD(1)),
    `last` String CODEC(ZSTD(1)),
    `messages` UInt64 CODEC(LZ4),
    `rows` UInt64 CODEC(LZ4),
    `dead_letters` UInt64 CODEC(LZ4),
    `parked` UInt64 CODEC(LZ4),
    `stored_ms` UInt64 CODEC(Delta, LZ4)
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/prod/{shard}/meterhouse/stream_commits_local', '{replica}')
PARTITION BY toDate(intDiv(stored_ms, 1000), 'UTC')
ORDER BY (stream, group, partition, first, last)
TTL toDateTime(intDiv(stored_ms, 1000), 'UTC') + toIntervalDay(30)
SETTINGS replicated_deduplication_window = 100000, replicated_deduplication_window_seconds = 604800, replicated_deduplication_window_for_async_inserts = 100000, replicated_deduplication_window_seconds_for_async_inserts = 604800, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `meterhouse`.`stream_commits` ON CLUSTER `prod`
AS `meterhouse`.`stream_commits_local`
ENGINE = Distributed('prod', 'meterhouse', 'stream_commits_local', cityHash64(stream));

CREATE VIEW IF NOT EXISTS `meterhouse`.`commit_log` ON CLUSTER `prod`
AS SELECT
    source,
    stream,
    group,
    partition,
    first,
    last,
    messages,
    toNullable(rows) AS rows,
    dead_letters,
    parked,
    fromUnixTimestamp64Milli(toInt64(stored_ms), 'UTC') AS stored_at
FROM `meterhouse`.`stream_commits`
UNION ALL
SELECT
    toLowCardinality('agent') AS source,
    substring(identities.source, 2, length(identities.source) - 2 - length(epoch)) AS stream,
    '' AS `group`,
    toUInt64(epoch) AS partition,
    toString(block * 64 + arrayMin(bitPositionsToArray(groupBitOr(mask) AS stored))) AS first,
    toString(block * 64 + arrayMax(bitPositionsToArray(groupBitOr(mask) AS stored))) AS last,
    toUInt64(bitCount(stored)) AS messages,
    CAST(NULL, 'Nullable(UInt64)') AS rows,
    toUInt64(0) AS dead_letters,
    toUInt64(0) AS parked,
    fromUnixTimestamp64Milli(toInt64(max(last_ms)), 'UTC') AS stored_at
FROM `meterhouse`.`identities`
WHERE match(identities.source, '^f[0-9]+:[0-9]+/')
GROUP BY identities.source, extract(identities.source, '[0-9]+$') AS epoch, block;

ALTER TABLE `meterhouse`.`subscriptions_local` ON CLUSTER `prod`
ADD COLUMN IF NOT EXISTS `webhook` String CODEC(ZSTD(1));

ALTER TABLE `meterhouse`.`subscriptions` ON CLUSTER `prod`
ADD COLUMN IF NOT EXISTS `webhook` String CODEC(ZSTD(1));

CREATE TABLE IF NOT EXISTS `meterhouse`.`subscription_webhooks_local` ON CLUSTER `prod`
(
    `org_id` UInt32 CODEC(LZ4),
    `project_id` UInt32 CODEC(LZ4),
    `id` String CODEC(ZSTD(1)),
    `tick_s` SimpleAggregateFunction(max, UInt32) CODEC(LZ4)
)
ENGINE = ReplicatedAggregatingMergeTree('/clickhouse/tables/prod/{shard}/meterhouse/subscription_webhooks_local', '{replica}')
ORDER BY (org_id, project_id, id)
TTL toDateTime(tick_s, 'UTC') + toIntervalDay(60)
SETTINGS replicated_deduplication_window = 0, replicated_deduplication_window_for_async_inserts = 0;

CREATE TABLE IF NOT EXISTS `meterhouse`.`subscription_webhooks` ON CLUSTER `prod`
AS `meterhouse`.`subscription_webhooks_local`
ENGINE = Distributed('prod', 'meterhouse', 'subscription_webhooks_local', cityHash64(id));

