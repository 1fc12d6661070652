# The filled columns as a frame of agent/wire/frame.py, with the identity that its sender gives.


cdef object frame_of(Framing *framing, sender, sequence, created_ms):
    columns = [column_bytes(&framing.columns[i]) for i in range(STRINGS)]
    return wire.Frame(
        agent=sender.agent,
        epoch=sender.epoch,
        sequence=sequence,
        created_ms=created_ms,
        org_id=sender.org_id,
        project_id=sender.project_id,
        retention_days=sender.retention_days,
        strings=msgspec.Raw(string_list(framing)),
        series=wire.SeriesColumns(*columns[SERIES_NAME:COUNTER_SERIES]),
        counters=wire.Counters(*columns[COUNTER_SERIES:GAUGE_SERIES]),
        gauges=wire.Gauges(*columns[GAUGE_SERIES:DISTRIBUTION_SERIES]),
        distributions=wire.Distributions(*columns[DISTRIBUTION_SERIES:SET_SERIES]),
        sets=wire.Sets(*columns[SET_SERIES:STRINGS]),
        lines=framing.lines,
    )


cdef bytes column_bytes(Column *column):
    return PyBytes_FromStringAndSize(column.bytes, column.size) if column.size else b""


cdef bytes string_list(Framing *framing):
    """The msgpack of the frame's list of strings: its head, and the strings."""
    cdef char head[5]
    cdef uint32_t count = framing.string_count
    cdef int size = 1 if count < 16 else 3 if count < 1 << 16 else 5
    put_msgpack_head(head, size, 0x90 | count if size == 1 else 0xDC if size == 3 else 0xDD, count)
    return PyBytes_FromStringAndSize(head, size) + column_bytes(&framing.columns[STRINGS])
