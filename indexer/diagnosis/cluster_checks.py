"""Checks of a cluster: macros, shards, Keeper, replicas, queues of Distributed tables. Pure."""

from __future__ import annotations

from typing import Final

from indexer.diagnosis.check import CheckResult, DoctorCheck, Judgement, Rows, Surroundings, failed, passed

#: Seconds that a replica may be late.
_MAX_DELAY_S: Final = 60


def _macros(rows: Rows, _: Surroundings) -> Judgement:
    """Judge rows of a host, its macros shard and replica, and the number of nodes in the configuration."""
    wanted = int(rows[0][3]) if rows else 0
    for number, name in enumerate(("shard", "replica"), 1):
        if without := sorted(str(row[0]) for row in rows if not row[number]):
            return failed(f"no macro {name}: {', '.join(without)}")
    if len(rows) < wanted or not rows:
        return failed(f"{len(rows)} of {wanted} nodes answer and have macros")
    hosts: dict[tuple[str, str], list[str]] = {}
    for host, shard, replica, _ in rows:
        hosts.setdefault((str(shard), str(replica)), []).append(str(host))
    for (shard, replica), same in sorted(hosts.items()):
        if len(same) > 1:
            return failed(f"the same shard {shard} and replica {replica}: {', '.join(sorted(same))}")
    return passed(f"{len(rows)} nodes, {len({shard for shard, _ in hosts})} shards")


def _shards(rows: Rows, around: Surroundings) -> Judgement:
    if not rows:
        return failed(f"there is no cluster {around.cluster}")
    shards = {int(shard) for shard, *_ in rows}
    text = f"{len(shards)} shards, {len(rows)} replicas"
    if plain := sorted({int(shard) for shard, _, internal, _ in rows if not internal}):
        return failed(f"internal_replication is false for the shards {', '.join(map(str, plain))}")
    if away := [str(host) for _, host, _, errors in rows if errors]:
        return failed(f"{text}; errors of late: {', '.join(away)}")
    return passed(text)


def _nodes(rows: Rows, _: Surroundings) -> Judgement:
    """Judge rows of a host, its number of tables, and the number of nodes in the configuration."""
    wanted = int(rows[0][2]) if rows else 0
    tables = max((int(count) for _, count, _ in rows), default=0)
    if len(rows) < wanted or not rows:
        return failed(f"{len(rows)} of {wanted} answer and have tables")
    if fewer := sorted(str(host) for host, count, _ in rows if int(count) < tables):
        return failed(f"fewer than {tables} tables: {', '.join(fewer)}")
    return passed(f"{len(rows)} nodes have {tables} tables each")


def _keeper(rows: Rows, _: Surroundings) -> Judgement:
    return passed("it answers") if rows else failed("it has no root")


def _replicas(rows: Rows, _: Surroundings) -> Judgement:
    wrong = []
    for table, readonly, expired, delay_s, active, total, error in rows:
        if readonly or expired:
            wrong.append(f"{table} is read-only{f' ({error})' if error else ''}")
        elif active < total:
            wrong.append(f"{table} has {active} of {total} replicas")
        elif delay_s > _MAX_DELAY_S:
            wrong.append(f"{table} is {delay_s} s late")
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        return failed("; ".join(wrong[:3]) + more)
    return passed(f"{len(rows)} tables") if rows else failed("there are no replicated tables")


def _queues(rows: Rows, _: Surroundings) -> Judgement:
    broken = [str(table) for table, errors, files, _ in rows if errors or files]
    if broken:
        return failed(f"files that cannot be sent: {', '.join(broken)}")
    waiting = sum(int(files) for *_, files in rows)
    return passed(f"{waiting} files wait")


CLUSTER: Final = (
    DoctorCheck(
        "macros",
        "SELECT hostName(), anyIf(substitution, macro = 'shard'), anyIf(substitution, macro = 'replica'),"
        " (SELECT count() FROM system.clusters WHERE cluster = {cluster:String})"
        " FROM clusterAllReplicas({cluster:Identifier}, system.macros)"
        " GROUP BY _shard_num, hostName() SETTINGS skip_unavailable_shards = 1",
        _macros,
        "Set <macros> with <shard> and <replica> on every node, no two alike: Keeper's paths are made of"
        " them.",
        cluster=True,
    ),
    DoctorCheck(
        "cluster",
        "SELECT shard_num, host_name, internal_replication, errors_count FROM system.clusters"
        " WHERE cluster = {cluster:String} ORDER BY shard_num, replica_num",
        _shards,
        "Define it in <remote_servers> of every node, with <internal_replication>true</internal_replication>:"
        " else each replica gets every row twice.",
        cluster=True,
    ),
    DoctorCheck(
        "nodes",
        "SELECT hostName(), count(),"
        " (SELECT count() FROM system.clusters WHERE cluster = {cluster:String})"
        " FROM clusterAllReplicas({cluster:Identifier}, system.tables) WHERE database = {database:String}"
        " GROUP BY _shard_num, hostName() SETTINGS skip_unavailable_shards = 1",
        _nodes,
        "Start the nodes that are away. Indexers give all that answer their tables within a minute; at once:"
        " `meterhouse schema apply --cluster NAME`.",
        cluster=True,
    ),
    DoctorCheck(
        "Keeper",
        "SELECT name FROM system.zookeeper WHERE path = '/'",
        _keeper,
        "Configure <zookeeper> on every node; replicated tables are read-only without it.",
        absent=CheckResult.FAILED,
        cluster=True,
    ),
    DoctorCheck(
        "replicas",
        "SELECT table, is_readonly, is_session_expired, absolute_delay, active_replicas, total_replicas,"
        " zookeeper_exception FROM system.replicas WHERE database = {database:String} ORDER BY table",
        _replicas,
        "Start the missing replica, or drop it (SYSTEM DROP REPLICA); SYSTEM RESTORE REPLICA mends Keeper.",
        cluster=True,
    ),
    DoctorCheck(
        "queues of Distributed tables",
        "SELECT table, error_count, broken_data_files, data_files FROM system.distribution_queue"
        " WHERE database = {database:String}",
        _queues,
        "Meterhouse inserts without these queues: other clients filled them. See last_exception there.",
        cluster=True,
    ),
)
