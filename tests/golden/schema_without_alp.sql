CREATE TABLE IF NOT EXISTS `meterhouse`.`schema_migrations`
(
    `version` UInt32,
    `name` String,
    `applied_at` DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY (version, name)
SETTINGS non_replicated_deduplication_window = 100000;

CREATE TABLE IF NOT EXISTS `meterhouse`.`series`
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
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(day)
ORDER BY (org_id, project_id, metric_id, day, series_id)
TTL day + toIntervalDay(1830)
SETTINGS ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `meterhouse`.`strings`
(
    `org_id` UInt32 CODEC(LZ4),
    `id` UInt64 CODEC(ZSTD(1)),
    `string` String CODEC(ZSTD(1)),
    `day` Date DEFAULT today() CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
ORDER BY (org_id, id, string)
TTL day + toIntervalDay(1860);

CREATE TABLE IF NOT EXISTS `meterhouse`.`metric_tag_keys`
(
    `org_id` UInt32 CODEC(LZ4),
    `project_id` UInt32 CODEC(LZ4),
    `metric_id` UInt64 CODEC(ZSTD(1)),
    `tag_key` UInt64 CODEC(ZSTD(1)),
    `first_day` SimpleAggregateFunction(min, Date) CODEC(ZSTD(1)),
    `last_day` SimpleAggregateFunction(max, Date) CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
ORDER BY (org_id, project_id, metric_id, tag_key)
TTL last_day + toIntervalDay(1830);

CREATE TABLE IF NOT EXISTS `meterhouse`.`metric_tag_values`
(
    `org_id` UInt32 CODEC(LZ4),
    `project_id` UInt32 CODEC(LZ4),
    `metric_id` UInt64 CODEC(ZSTD(1)),
    `tag_key` UInt64 CODEC(ZSTD(1)),
    `tag_value` UInt64 CODEC(ZSTD(1)),
    `first_day` SimpleAggregateFunction(min, Date) CODEC(ZSTD(1)),
    `last_day` SimpleAggregateFunction(max, Date) CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
ORDER BY (org_id, project_id, metric_id, tag_key, tag_value)
TTL last_day + toIntervalDay(1830);

CREATE MATERIALIZED VIEW IF NOT EXISTS `meterhouse`.`metric_tag_keys_view`
TO `meterhouse`.`metric_tag_keys`
AS SELECT
    org_id,
    project_id,
    metric_id,
    arrayJoin(tag_keys) AS tag_key,
    day AS first_day,
    day AS last_day
FROM `meterhouse`.`series`;

CREATE MATERIALIZED VIEW IF NOT EXISTS `meterhouse`.`metric_tag_values_view`
TO `meterhouse`.`metric_tag_values`
AS SELECT
    org_id,
    project_id,
    metric_id,
    (arrayJoin(arrayZip(tag_keys, tag_values)) AS tag).1 AS tag_key,
    tag.2 AS tag_value,
    day AS first_day,
    day AS last_day
FROM `meterhouse`.`series`;

CREATE TABLE IF NOT EXISTS `meterhouse`.`counters_10s`
(
    `org_id` UInt32 CODEC(LZ4),
    `project_id` UInt32 CODEC(LZ4),
    `metric_id` UInt64 CODEC(ZSTD(1)),
    `series_id` UInt64 CODEC(ZSTD(1)),
    `timestamp` DateTime('UTC') CODEC(Delta, LZ4),
    `retention_days` UInt16 CODEC(LZ4),
    `value` SimpleAggregateFunction(sum, Float64) CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY (retention_days, toDate(timestamp))
ORDER BY (org_id, project_id, metric_id, toStartOfHour(timestamp), series_id, timestamp)
TTL timestamp + toIntervalDay(retention_days)
SETTINGS non_replicated_deduplication_window = 100000, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `meterhouse`.`counters_60s`
(
    `org_id` UInt32 CODEC(LZ4),
    `project_id` UInt32 CODEC(LZ4),
    `metric_id` UInt64 CODEC(ZSTD(1)),
    `series_id` UInt64 CODEC(ZSTD(1)),
    `timestamp` DateTime('UTC') CODEC(Delta, LZ4),
    `retention_days` UInt16 CODEC(LZ4),
    `value` SimpleAggregateFunction(sum, Float64) CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY (retention_days, toMonday(timestamp))
ORDER BY (org_id, project_id, metric_id, toStartOfDay(timestamp), series_id, timestamp)
TTL timestamp + toIntervalDay(retention_days)
SETTINGS non_replicated_deduplication_window = 100000, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `meterhouse`.`counters_1h`
(
    `org_id` UInt32 CODEC(LZ4),
    `project_id` UInt32 CODEC(LZ4),
    `metric_id` UInt64 CODEC(ZSTD(1)),
    `series_id` UInt64 CODEC(ZSTD(1)),
    `timestamp` DateTime('UTC') CODEC(Delta, LZ4),
    `retention_days` UInt16 CODEC(LZ4),
    `value` SimpleAggregateFunction(sum, Float64) CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY (retention_days, toStartOfMonth(timestamp))
ORDER BY (org_id, project_id, metric_id, series_id, timestamp)
TTL timestamp + toIntervalDay(retention_days)
SETTINGS non_replicated_deduplication_window = 100000, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `meterhouse`.`counters_1d`
(
    `org_id` UInt32 CODEC(LZ4),
    `project_id` UInt32 CODEC(LZ4),
    `metric_id` UInt64 CODEC(ZSTD(1)),
    `series_id` UInt64 CODEC(ZSTD(1)),
    `timestamp` DateTime('UTC') CODEC(Delta, LZ4),
    `retention_days` UInt16 CODEC(LZ4),
    `value` SimpleAggregateFunction(sum, Float64) CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY (retention_days, toStartOfYear(timestamp))
ORDER BY (org_id, project_id, metric_id, series_id, timestamp)
TTL timestamp + toIntervalDay(retention_days)
SETTINGS non_replicated_deduplication_window = 100000, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `meterhouse`.`gauges_10s`
(
    `org_id` UInt32 CODEC(LZ4),
    `project_id` UInt32 CODEC(LZ4),
    `metric_id` UInt64 CODEC(ZSTD(1)),
    `series_id` UInt64 CODEC(ZSTD(1)),
    `timestamp` DateTime('UTC') CODEC(Delta, LZ4),
    `retention_days` UInt16 CODEC(LZ4),
    `last` SimpleAggregateFunction(max, Tuple(DateTime64(3, 'UTC'), Float64)) CODEC(ZSTD(1)),
    `min` SimpleAggregateFunction(min, Float64) CODEC(ZSTD(1)),
    `max` SimpleAggregateFunction(max, Float64) CODEC(ZSTD(1)),
    `sum` SimpleAggregateFunction(sum, Float64) CODEC(ZSTD(1)),
    `count` SimpleAggregateFunction(sum, Float64) CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY (retention_days, toDate(timestamp))
ORDER BY (org_id, project_id, metric_id, toStartOfHour(timestamp), series_id, timestamp)
TTL timestamp + toIntervalDay(retention_days)
SETTINGS non_replicated_deduplication_window = 100000, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `meterhouse`.`gauges_60s`
(
    `org_id` UInt32 CODEC(LZ4),
    `project_id` UInt32 CODEC(LZ4),
    `metric_id` UInt64 CODEC(ZSTD(1)),
    `series_id` UInt64 CODEC(ZSTD(1)),
    `timestamp` DateTime('UTC') CODEC(Delta, LZ4),
    `retention_days` UInt16 CODEC(LZ4),
    `last` SimpleAggregateFunction(max, Tuple(DateTime64(3, 'UTC'), Float64)) CODEC(ZSTD(1)),
    `min` SimpleAggregateFunction(min, Float64) CODEC(ZSTD(1)),
    `max` SimpleAggregateFunction(max, Float64) CODEC(ZSTD(1)),
    `sum` SimpleAggregateFunction(sum, Float64) CODEC(ZSTD(1)),
    `count` SimpleAggregateFunction(sum, Float64) CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY (retention_days, toMonday(timestamp))
ORDER BY (org_id, project_id, metric_id, toStartOfDay(timestamp), series_id, timestamp)
TTL timestamp + toIntervalDay(retention_days)
SETTINGS non_replicated_deduplication_window = 100000, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `meterhouse`.`gauges_1h`
(
    `org_id` UInt32 CODEC(LZ4),
    `project_id` UInt32 CODEC(LZ4),
    `metric_id` UInt64 CODEC(ZSTD(1)),
    `series_id` UInt64 CODEC(ZSTD(1)),
    `timestamp` DateTime('UTC') CODEC(Delta, LZ4),
    `retention_days` UInt16 CODEC(LZ4),
    `last` SimpleAggregateFunction(max, Tuple(DateTime64(3, 'UTC'), Float64)) CODEC(ZSTD(1)),
    `min` SimpleAggregateFunction(min, Float64) CODEC(ZSTD(1)),
    `max` SimpleAggregateFunction(max, Float64) CODEC(ZSTD(1)),
    `sum` SimpleAggregateFunction(sum, Float64) CODEC(ZSTD(1)),
    `count` SimpleAggregateFunction(sum, Float64) CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY (retention_days, toStartOfMonth(timestamp))
ORDER BY (org_id, project_id, metric_id, series_id, timestamp)
TTL timestamp + toIntervalDay(retention_days)
SETTINGS non_replicated_deduplication_window = 100000, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `meterhouse`.`gauges_1d`
(
    `org_id` UInt32 CODEC(LZ4),
    `project_id` UInt32 CODEC(LZ4),
    `metric_id` UInt64 CODEC(ZSTD(1)),
    `series_id` UInt64 CODEC(ZSTD(1)),
    `timestamp` DateTime('UTC') CODEC(Delta, LZ4),
    `retention_days` UInt16 CODEC(LZ4),
    `last` SimpleAggregateFunction(max, Tuple(DateTime64(3, 'UTC'), Float64)) CODEC(ZSTD(1)),
    `min` SimpleAggregateFunction(min, Float64) CODEC(ZSTD(1)),
    `max` SimpleAggregateFunction(max, Float64) CODEC(ZSTD(1)),
    `sum` SimpleAggregateFunction(sum, Float64) CODEC(ZSTD(1)),
    `count` SimpleAggregateFunction(sum, Float64) CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY (retention_days, toStartOfYear(timestamp))
ORDER BY (org_id, project_id, metric_id, series_id, timestamp)
TTL timestamp + toIntervalDay(retention_days)
SETTINGS non_replicated_deduplication_window = 100000, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `meterhouse`.`distributions_10s`
(
    `org_id` UInt32 CODEC(LZ4),
    `project_id` UInt32 CODEC(LZ4),
    `metric_id` UInt64 CODEC(ZSTD(1)),
    `series_id` UInt64 CODEC(ZSTD(1)),
    `timestamp` DateTime('UTC') CODEC(Delta, LZ4),
    `retention_days` UInt16 CODEC(LZ4),
    `positive` SimpleAggregateFunction(sumMap, Map(Int32, Float64)) CODEC(ZSTD(1)),
    `negative` SimpleAggregateFunction(sumMap, Map(Int32, Float64)) CODEC(ZSTD(1)),
    `zero` SimpleAggregateFunction(sum, Float64) CODEC(ZSTD(1)),
    `count` SimpleAggregateFunction(sum, Float64) CODEC(ZSTD(1)),
    `sum` SimpleAggregateFunction(sum, Float64) CODEC(ZSTD(1)),
    `sum_squares` SimpleAggregateFunction(sum, Float64) CODEC(ZSTD(1)),
    `min` SimpleAggregateFunction(min, Float64) CODEC(ZSTD(1)),
    `max` SimpleAggregateFunction(max, Float64) CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY (retention_days, toDate(timestamp))
ORDER BY (org_id, project_id, metric_id, toStartOfHour(timestamp), series_id, timestamp)
TTL timestamp + toIntervalDay(retention_days)
SETTINGS non_replicated_deduplication_window = 100000, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `meterhouse`.`distributions_60s`
(
    `org_id` UInt32 CODEC(LZ4),
    `project_id` UInt32 CODEC(LZ4),
    `metric_id` UInt64 CODEC(ZSTD(1)),
    `series_id` UInt64 CODEC(ZSTD(1)),
    `timestamp` DateTime('UTC') CODEC(Delta, LZ4),
    `retention_days` UInt16 CODEC(LZ4),
    `positive` SimpleAggregateFunction(sumMap, Map(Int32, Float64)) CODEC(ZSTD(1)),
    `negative` SimpleAggregateFunction(sumMap, Map(Int32, Float64)) CODEC(ZSTD(1)),
    `zero` SimpleAggregateFunction(sum, Float64) CODEC(ZSTD(1)),
    `count` SimpleAggregateFunction(sum, Float64) CODEC(ZSTD(1)),
    `sum` SimpleAggregateFunction(sum, Float64) CODEC(ZSTD(1)),
    `sum_squares` SimpleAggregateFunction(sum, Float64) CODEC(ZSTD(1)),
    `min` SimpleAggregateFunction(min, Float64) CODEC(ZSTD(1)),
    `max` SimpleAggregateFunction(max, Float64) CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY (retention_days, toMonday(timestamp))
ORDER BY (org_id, project_id, metric_id, toStartOfDay(timestamp), series_id, timestamp)
TTL timestamp + toIntervalDay(retention_days)
SETTINGS non_replicated_deduplication_window = 100000, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `meterhouse`.`distributions_1h`
(
    `org_id` UInt32 CODEC(LZ4),
    `project_id` UInt32 CODEC(LZ4),
    `metric_id` UInt64 CODEC(ZSTD(1)),
    `series_id` UInt64 CODEC(ZSTD(1)),
    `timestamp` DateTime('UTC') CODEC(Delta, LZ4),
    `retention_days` UInt16 CODEC(LZ4),
    `positive` SimpleAggregateFunction(sumMap, Map(Int32, Float64)) CODEC(ZSTD(1)),
    `negative` SimpleAggregateFunction(sumMap, Map(Int32, Float64)) CODEC(ZSTD(1)),
    `zero` SimpleAggregateFunction(sum, Float64) CODEC(ZSTD(1)),
    `count` SimpleAggregateFunction(sum, Float64) CODEC(ZSTD(1)),
    `sum` SimpleAggregateFunction(sum, Float64) CODEC(ZSTD(1)),
    `sum_squares` SimpleAggregateFunction(sum, Float64) CODEC(ZSTD(1)),
    `min` SimpleAggregateFunction(min, Float64) CODEC(ZSTD(1)),
    `max` SimpleAggregateFunction(max, Float64) CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY (retention_days, toStartOfMonth(timestamp))
ORDER BY (org_id, project_id, metric_id, series_id, timestamp)
TTL timestamp + toIntervalDay(retention_days)
SETTINGS non_replicated_deduplication_window = 100000, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `meterhouse`.`distributions_1d`
(
    `org_id` UInt32 CODEC(LZ4),
    `project_id` UInt32 CODEC(LZ4),
    `metric_id` UInt64 CODEC(ZSTD(1)),
    `series_id` UInt64 CODEC(ZSTD(1)),
    `timestamp` DateTime('UTC') CODEC(Delta, LZ4),
    `retention_days` UInt16 CODEC(LZ4),
    `positive` SimpleAggregateFunction(sumMap, Map(Int32, Float64)) CODEC(ZSTD(1)),
    `negative` SimpleAggregateFunction(sumMap, Map(Int32, Float64)) CODEC(ZSTD(1)),
    `zero` SimpleAggregateFunction(sum, Float64) CODEC(ZSTD(1)),
    `count` SimpleAggregateFunction(sum, Float64) CODEC(ZSTD(1)),
    `sum` SimpleAggregateFunction(sum, Float64) CODEC(ZSTD(1)),
    `sum_squares` SimpleAggregateFunction(sum, Float64) CODEC(ZSTD(1)),
    `min` SimpleAggregateFunction(min, Float64) CODEC(ZSTD(1)),
    `max` SimpleAggregateFunction(max, Float64) CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY (retention_days, toStartOfYear(timestamp))
ORDER BY (org_id, project_id, metric_id, series_id, timestamp)
TTL timestamp + toIntervalDay(retention_days)
SETTINGS non_replicated_deduplication_window = 100000, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `meterhouse`.`sets_10s`
(
    `org_id` UInt32 CODEC(LZ4),
    `project_id` UInt32 CODEC(LZ4),
    `metric_id` UInt64 CODEC(ZSTD(1)),
    `series_id` UInt64 CODEC(ZSTD(1)),
    `timestamp` DateTime('UTC') CODEC(Delta, LZ4),
    `retention_days` UInt16 CODEC(LZ4),
    `members` AggregateFunction(uniqCombined64, UInt64) CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY (retention_days, toDate(timestamp))
ORDER BY (org_id, project_id, metric_id, toStartOfHour(timestamp), series_id, timestamp)
TTL timestamp + toIntervalDay(retention_days)
SETTINGS non_replicated_deduplication_window = 100000, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `meterhouse`.`sets_60s`
(
    `org_id` UInt32 CODEC(LZ4),
    `project_id` UInt32 CODEC(LZ4),
    `metric_id` UInt64 CODEC(ZSTD(1)),
    `series_id` UInt64 CODEC(ZSTD(1)),
    `timestamp` DateTime('UTC') CODEC(Delta, LZ4),
    `retention_days` UInt16 CODEC(LZ4),
    `members` AggregateFunction(uniqCombined64, UInt64) CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY (retention_days, toMonday(timestamp))
ORDER BY (org_id, project_id, metric_id, toStartOfDay(timestamp), series_id, timestamp)
TTL timestamp + toIntervalDay(retention_days)
SETTINGS non_replicated_deduplication_window = 100000, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `meterhouse`.`sets_1h`
(
    `org_id` UInt32 CODEC(LZ4),
    `project_id` UInt32 CODEC(LZ4),
    `metric_id` UInt64 CODEC(ZSTD(1)),
    `series_id` UInt64 CODEC(ZSTD(1)),
    `timestamp` DateTime('UTC') CODEC(Delta, LZ4),
    `retention_days` UInt16 CODEC(LZ4),
    `members` AggregateFunction(uniqCombined64, UInt64) CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY (retention_days, toStartOfMonth(timestamp))
ORDER BY (org_id, project_id, metric_id, series_id, timestamp)
TTL timestamp + toIntervalDay(retention_days)
SETTINGS non_replicated_deduplication_window = 100000, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `meterhouse`.`sets_1d`
(
    `org_id` UInt32 CODEC(LZ4),
    `project_id` UInt32 CODEC(LZ4),
    `metric_id` UInt64 CODEC(ZSTD(1)),
    `series_id` UInt64 CODEC(ZSTD(1)),
    `timestamp` DateTime('UTC') CODEC(Delta, LZ4),
    `retention_days` UInt16 CODEC(LZ4),
    `members` AggregateFunction(uniqCombined64, UInt64) CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY (retention_days, toStartOfYear(timestamp))
ORDER BY (org_id, project_id, metric_id, series_id, timestamp)
TTL timestamp + toIntervalDay(retention_days)
SETTINGS non_replicated_deduplication_window = 100000, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `meterhouse`.`metric_metadata`
(
    `org_id` UInt32 CODEC(LZ4),
    `project_id` UInt32 CODEC(LZ4),
    `name` String CODEC(ZSTD(1)),
    `help` String CODEC(ZSTD(1)),
    `unit` String CODEC(ZSTD(1)),
    `buckets` Array(Float64) CODEC(ZSTD(1)),
    `updated_ms` UInt64 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(`updated_ms`)
ORDER BY (org_id, project_id, name)
TTL toDateTime(intDiv(updated_ms, 1000), 'UTC') + toIntervalDay(1830);

CREATE TABLE IF NOT EXISTS `meterhouse`.`heartbeats`
(
    `org_id` UInt32 CODEC(LZ4),
    `project_id` UInt32 CODEC(LZ4),
    `agent` String CODEC(ZSTD(1)),
    `epoch` UInt64 CODEC(ZSTD(1)),
    `flushed_until_ms` SimpleAggregateFunction(max, Int64) CODEC(ZSTD(1)),
    `heard_ms` SimpleAggregateFunction(max, Int64) CODEC(ZSTD(1)),
    `ended` SimpleAggregateFunction(max, UInt8) CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
ORDER BY (org_id, project_id, agent, epoch)
TTL toDateTime(intDiv(heard_ms, 1000), 'UTC') + toIntervalHour(1);

CREATE TABLE IF NOT EXISTS `meterhouse`.`retention_eras`
(
    `since_ms` UInt64,
    `days_10s` UInt16,
    `days_60s` UInt16,
    `days_1h` UInt16,
    `days_1d` UInt16,
    `steps` Array(UInt16),
    `noted_at` DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY (since_ms)
SETTINGS non_replicated_deduplication_window = 100000;

CREATE TABLE IF NOT EXISTS `meterhouse`.`incoming_counters`
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

CREATE MATERIALIZED VIEW IF NOT EXISTS `meterhouse`.`incoming_counters_10s_view`
TO `meterhouse`.`counters_10s`
AS SELECT
    org_id,
    project_id,
    metric_id,
    series_id,
    toDateTime(intDiv(bucket, 10) * 10, 'UTC') AS timestamp,
    days_10s AS retention_days,
    value
FROM `meterhouse`.`incoming_counters`;

CREATE MATERIALIZED VIEW IF NOT EXISTS `meterhouse`.`incoming_counters_60s_view`
TO `meterhouse`.`counters_60s`
AS SELECT
    org_id,
    project_id,
    metric_id,
    series_id,
    toDateTime(intDiv(bucket, 60) * 60, 'UTC') AS timestamp,
    days_60s AS retention_days,
    value
FROM `meterhouse`.`incoming_counters`;

CREATE MATERIALIZED VIEW IF NOT EXISTS `meterhouse`.`incoming_counters_1h_view`
TO `meterhouse`.`counters_1h`
AS SELECT
    org_id,
    project_id,
    metric_id,
    series_id,
    toDateTime(intDiv(bucket, 3600) * 3600, 'UTC') AS timestamp,
    days_1h AS retention_days,
    value
FROM `meterhouse`.`incoming_counters`;

CREATE MATERIALIZED VIEW IF NOT EXISTS `meterhouse`.`incoming_counters_1d_view`
TO `meterhouse`.`counters_1d`
AS SELECT
    org_id,
    project_id,
    metric_id,
    series_id,
    toDateTime(intDiv(bucket, 86400) * 86400, 'UTC') AS timestamp,
    days_1d AS retention_days,
    value
FROM `meterhouse`.`incoming_counters`;

CREATE TABLE IF NOT EXISTS `meterhouse`.`incoming_gauges`
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

CREATE MATERIALIZED VIEW IF NOT EXISTS `meterhouse`.`incoming_gauges_10s_view`
TO `meterhouse`.`gauges_10s`
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
FROM `meterhouse`.`incoming_gauges`;

CREATE MATERIALIZED VIEW IF NOT EXISTS `meterhouse`.`incoming_gauges_60s_view`
TO `meterhouse`.`gauges_60s`
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
FROM `meterhouse`.`incoming_gauges`;

CREATE MATERIALIZED VIEW IF NOT EXISTS `meterhouse`.`incoming_gauges_1h_view`
TO `meterhouse`.`gauges_1h`
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
FROM `meterhouse`.`incoming_gauges`;

CREATE MATERIALIZED VIEW IF NOT EXISTS `meterhouse`.`incoming_gauges_1d_view`
TO `meterhouse`.`gauges_1d`
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
FROM `meterhouse`.`incoming_gauges`;

CREATE TABLE IF NOT EXISTS `meterhouse`.`incoming_distributions`
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

CREATE MATERIALIZED VIEW IF NOT EXISTS `meterhouse`.`incoming_distributions_10s_view`
TO `meterhouse`.`distributions_10s`
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
FROM `meterhouse`.`incoming_distributions`;

CREATE MATERIALIZED VIEW IF NOT EXISTS `meterhouse`.`incoming_distributions_60s_view`
TO `meterhouse`.`distributions_60s`
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
FROM `meterhouse`.`incoming_distributions`;

CREATE MATERIALIZED VIEW IF NOT EXISTS `meterhouse`.`incoming_distributions_1h_view`
TO `meterhouse`.`distributions_1h`
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
FROM `meterhouse`.`incoming_distributions`;

CREATE MATERIALIZED VIEW IF NOT EXISTS `meterhouse`.`incoming_distributions_1d_view`
TO `meterhouse`.`distributions_1d`
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
FROM `meterhouse`.`incoming_distributions`;

CREATE TABLE IF NOT EXISTS `meterhouse`.`incoming_sets`
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

CREATE MATERIALIZED VIEW IF NOT EXISTS `meterhouse`.`incoming_sets_10s_view`
TO `meterhouse`.`sets_10s`
AS SELECT
    org_id,
    project_id,
    metric_id,
    series_id,
    toDateTime(intDiv(bucket, 10) * 10, 'UTC') AS timestamp,
    days_10s AS retention_days,
    arrayReduce('uniqCombined64State', member) AS members
FROM `meterhouse`.`incoming_sets`;

CREATE MATERIALIZED VIEW IF NOT EXISTS `meterhouse`.`incoming_sets_60s_view`
TO `meterhouse`.`sets_60s`
AS SELECT
    org_id,
    project_id,
    metric_id,
    series_id,
    toDateTime(intDiv(bucket, 60) * 60, 'UTC') AS timestamp,
    days_60s AS retention_days,
    arrayReduce('uniqCombined64State', member) AS members
FROM `meterhouse`.`incoming_sets`;

CREATE MATERIALIZED VIEW IF NOT EXISTS `meterhouse`.`incoming_sets_1h_view`
TO `meterhouse`.`sets_1h`
AS SELECT
    org_id,
    project_id,
    metric_id,
    series_id,
    toDateTime(intDiv(bucket, 3600) * 3600, 'UTC') AS timestamp,
    days_1h AS retention_days,
    arrayReduce('uniqCombined64State', member) AS members
FROM `meterhouse`.`incoming_sets`;

CREATE MATERIALIZED VIEW IF NOT EXISTS `meterhouse`.`incoming_sets_1d_view`
TO `meterhouse`.`sets_1d`
AS SELECT
    org_id,
    project_id,
    metric_id,
    series_id,
    toDateTime(intDiv(bucket, 86400) * 86400, 'UTC') AS timestamp,
    days_1d AS retention_days,
    arrayReduce('uniqCombined64State', member) AS members
FROM `meterhouse`.`incoming_sets`;

ALTER TABLE `meterhouse`.`series`
MODIFY SETTING non_replicated_deduplication_window = 0;

ALTER TABLE `meterhouse`.`strings`
MODIFY SETTING non_replicated_deduplication_window = 0;

ALTER TABLE `meterhouse`.`metric_tag_keys`
MODIFY SETTING non_replicated_deduplication_window = 0;

ALTER TABLE `meterhouse`.`metric_tag_values`
MODIFY SETTING non_replicated_deduplication_window = 0;

ALTER TABLE `meterhouse`.`metric_metadata`
MODIFY SETTING non_replicated_deduplication_window = 0;

ALTER TABLE `meterhouse`.`heartbeats`
MODIFY SETTING non_replicated_deduplication_window = 0;

ALTER TABLE `meterhouse`.`strings`
ADD COLUMN IF NOT EXISTS `day` Date DEFAULT today() CODEC(ZSTD(1));

ALTER TABLE `meterhouse`.`strings`
MODIFY TTL day + toIntervalDay(1860);

CREATE TABLE IF NOT EXISTS `meterhouse`.`identities`
(
    `source` String CODEC(ZSTD(1)),
    `block` UInt64 CODEC(Delta, ZSTD(1)),
    `mask` SimpleAggregateFunction(groupBitOr, UInt64) CODEC(ZSTD(1)),
    `last_ms` SimpleAggregateFunction(max, UInt64) CODEC(ZSTD(1)),
    `expires` Date CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY expires
ORDER BY (source, block)
TTL expires
SETTINGS ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `meterhouse`.`subscriptions`
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
ENGINE = ReplacingMergeTree(`noted_ms`)
ORDER BY (org_id, project_id, id);

CREATE TABLE IF NOT EXISTS `meterhouse`.`subscription_results`
(
    `org_id` UInt32 CODEC(LZ4),
    `project_id` UInt32 CODEC(LZ4),
    `id` String CODEC(ZSTD(1)),
    `tick_s` UInt32 CODEC(Delta, LZ4),
    `payload` String CODEC(ZSTD(1)),
    `precedence` UInt64 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(`precedence`)
ORDER BY (org_id, project_id, id, tick_s)
TTL toDateTime(tick_s, 'UTC') + toIntervalDay(30);

CREATE VIEW IF NOT EXISTS `meterhouse`.`metrics_counters_v2_local`
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

CREATE TABLE IF NOT EXISTS `meterhouse`.`stream_commits`
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
ENGINE = ReplacingMergeTree
PARTITION BY toDate(intDiv(stored_ms, 1000), 'UTC')
ORDER BY (stream, group, partition, first, last)
TTL toDateTime(intDiv(stored_ms, 1000), 'UTC') + toIntervalDay(30)
SETTINGS non_replicated_deduplication_window = 100000, ttl_only_drop_parts = 1;

CREATE VIEW IF NOT EXISTS `meterhouse`.`commit_log`
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

ALTER TABLE `meterhouse`.`subscriptions`
ADD COLUMN IF NOT EXISTS `webhook` String CODEC(ZSTD(1));

CREATE TABLE IF NOT EXISTS `meterhouse`.`subscription_webhooks`
(
    `org_id` UInt32 CODEC(LZ4),
    `project_id` UInt32 CODEC(LZ4),
    `id` String CODEC(ZSTD(1)),
    `tick_s` SimpleAggregateFunction(max, UInt32) CODEC(LZ4)
)
ENGINE = AggregatingMergeTree
ORDER BY (org_id, project_id, id)
TTL toDateTime(tick_s, 'UTC') + toIntervalDay(60);

