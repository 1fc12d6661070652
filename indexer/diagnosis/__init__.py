"""The checks of `meterhouse doctor`: one record each, judged from rows of ClickHouse's system tables."""
