"""Jobs on services, ports, the desired state, leases, measurements and idempotency keys."""

from __future__ import annotations

from functools import cache

from sqlalchemy import Connection, Table, delete, inspect, select
from sqlalchemy.dialects.sqlite import Insert, insert
from sqlmodel import SQLModel, col

from gpumod.core.footprint import Measurement
from gpumod.core.lease import Lease
from gpumod.core.names import LeaseId, ServiceId
from gpumod.core.service import Desired, ServiceRecord
from gpumod.store.codec import Decoder, encode
from gpumod.store.tables import (
    AnswerRow,
    DesiredRow,
    GenerationRow,
    LeaseRow,
    MeasurementRow,
    MetaRow,
    PortRow,
    ServiceRow,
)


def put(connection: Connection, row: SQLModel) -> None:
    """Insert a row, or replace the one with its primary key."""
    connection.execute(_upsert(type(row)), row.model_dump())


@cache
def _upsert(kind: type[SQLModel]) -> Insert:
    table: Table = inspect(kind).local_table
    keys = [column.name for column in table.primary_key]
    statement = insert(table)
    changes = {column.name: statement.excluded[column.name] for column in table.c if column.name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=changes)


def save_service(connection: Connection, record: ServiceRecord) -> None:
    """Keep a service's record."""
    row = ServiceRow(
        id=record.id,
        state=record.state,
        generation=record.generation,
        since=record.since,
        record=encode(record),
    )
    put(connection, row)


def services(connection: Connection, decoder: Decoder) -> tuple[ServiceRecord, ...]:
    """All records that can be read."""
    rows = connection.execute(select(col(ServiceRow.id), col(ServiceRow.record)).order_by(col(ServiceRow.id)))
    found = (decoder.decode_or_none(ServiceRecord, text, f"services {key!r}") for key, text in rows)
    return tuple(record for record in found if record is not None)


def delete_service(connection: Connection, service: ServiceId) -> None:
    """Forget a service's record."""
    connection.execute(delete(ServiceRow).where(col(ServiceRow.id) == service))


def next_generation(connection: Connection, service: ServiceId) -> int:
    """Count a service's generations on."""
    last = col(GenerationRow.last)
    statement = (
        insert(GenerationRow)
        .values(service=service, last=1)
        .on_conflict_do_update(index_elements=["service"], set_={"last": last + 1})
        .returning(last)
    )
    return connection.execute(statement).scalar_one()


def sticky_ports(connection: Connection) -> dict[ServiceId, int]:
    """The port of each service."""
    rows = connection.execute(select(col(PortRow.service), col(PortRow.port)))
    return {ServiceId(service): port for service, port in rows}


def save_port(connection: Connection, service: ServiceId, port: int) -> None:
    """Remember a service's port."""
    put(connection, PortRow(service=service, port=port))


def desired(connection: Connection, decoder: Decoder) -> Desired | None:
    """What the box should be; the mode alone where the overrides cannot be read."""
    row = connection.execute(select(DesiredRow)).mappings().first()
    if row is None:
        return None
    record = decoder.decode_or_none(Desired, row["record"], "desired")
    return record or Desired(mode=row["mode"], since=row["since"])


def save_desired(connection: Connection, desired: Desired) -> None:
    """Set what the box should be."""
    put(connection, DesiredRow(id=1, mode=desired.mode, since=desired.since, record=encode(desired)))


def save_lease(connection: Connection, lease: Lease) -> None:
    """Keep a lease."""
    put(connection, LeaseRow(id=lease.id, until=lease.until, record=encode(lease)))


def delete_lease(connection: Connection, lease: LeaseId) -> None:
    """Forget a lease."""
    connection.execute(delete(LeaseRow).where(col(LeaseRow.id) == lease))


def leases(connection: Connection, decoder: Decoder) -> tuple[Lease, ...]:
    """All leases that can be read, the ones that end first coming first."""
    order = (col(LeaseRow.until), col(LeaseRow.id))
    rows = connection.execute(select(col(LeaseRow.id), col(LeaseRow.record)).order_by(*order))
    found = (decoder.decode_or_none(Lease, text, f"leases {key!r}") for key, text in rows)
    return tuple(lease for lease in found if lease is not None)


def add_measurement(connection: Connection, measurement: Measurement, keep: int) -> None:
    """Keep a measurement, and the newest `keep` of its kind."""
    kind = {
        "fingerprint": measurement.fingerprint,
        "card_name": measurement.card_name,
        "count": measurement.count,
        "stage": measurement.stage,
    }
    connection.execute(insert(MeasurementRow).values(**kind, record=encode(measurement)))
    number = col(MeasurementRow.id)
    older = select(number).filter_by(**kind).order_by(number.desc()).offset(keep).limit(-1)
    connection.execute(delete(MeasurementRow).where(number.in_(older)))


def measurements(connection: Connection, decoder: Decoder) -> tuple[Measurement, ...]:
    """All measurements that can be read, oldest first."""
    number = col(MeasurementRow.id)
    rows = connection.execute(select(number, col(MeasurementRow.record)).order_by(number))
    found = (decoder.decode_or_none(Measurement, text, f"measurements {key}") for key, text in rows)
    return tuple(measurement for measurement in found if measurement is not None)


def idempotent(connection: Connection, key: str, since: float) -> tuple[str, str] | None:
    """What is kept under a key, if it is no older than `since`."""
    answer = select(col(AnswerRow.fingerprint), col(AnswerRow.answer))
    row = connection.execute(answer.where(col(AnswerRow.key) == key, col(AnswerRow.at) >= since)).first()
    return None if row is None else (row[0], row[1])


def save_idempotent(connection: Connection, row: AnswerRow, since: float) -> None:
    """Keep an answer and drop those older than `since`."""
    connection.execute(delete(AnswerRow).where(col(AnswerRow.at) < since))
    put(connection, row)


def note_version(connection: Connection, version: str) -> None:
    """Write down which gpumod opened the file last."""
    put(connection, MetaRow(key="version", value=version))
