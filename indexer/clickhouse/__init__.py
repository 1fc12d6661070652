"""ClickHouse, embedded or a server: the store, its wire format, its errors and the schema."""
