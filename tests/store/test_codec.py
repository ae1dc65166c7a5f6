"""Records across versions: what an older or a newer gpumod wrote can be read."""

import json
import logging
import math
from dataclasses import fields, replace

import pytest

from gpumod.core.errors import StoreError
from gpumod.core.footprint import Measurement
from gpumod.core.lease import Lease
from gpumod.core.service import Desired, ServiceRecord
from gpumod.core.spec import Drain, ServiceSpec
from gpumod.core.switch import StepRecord, SwitchRecord
from gpumod.store.codec import Decoder, clean, encode
from tests.store.samples import SPEC, desired, lease, measurement, service, step, switch

RECORDS = [
    (ServiceRecord, service()),
    (SwitchRecord, switch(steps=[step()])),
    (StepRecord, step()),
    (Desired, desired()),
    (Lease, lease()),
    (Measurement, measurement()),
]


@pytest.fixture
def decoder():
    return Decoder("/state/gpumod.db")


@pytest.mark.parametrize(("kind", "record"), RECORDS)
def test_record_reads_back_as_it_was(decoder, kind, record):
    assert decoder.decode(kind, encode(record), "row") == record


def test_samples_fill_every_field_of_a_service():
    filled = service()
    assert [
        field.name for field in fields(ServiceRecord) if getattr(filled, field.name) in (None, (), "")
    ] == []


def test_fields_that_an_older_version_did_not_write_take_their_defaults(decoder):
    old = json.loads(encode(service()))
    for name in ("restarts", "last_log", "admitting", "observed", "ready_at"):
        del old[name]
    for name in ("leave", "depends_on", "llama"):
        del old["spec"][name]
    del old["launch"]["fingerprint"]
    old["footprint"]["parts"] = [{"name": "weights", "size": 5, "source": "estimated"}]
    read = decoder.decode(ServiceRecord, json.dumps(old), "row")
    plain = ServiceSpec(SPEC.id, SPEC.preset, SPEC.engine)
    assert (read.restarts, read.last_log, read.admitting, read.ready_at) == ((), (), False, None)
    assert (read.spec.leave, read.spec.llama) == (plain.leave, plain.llama)
    assert read.launch.fingerprint == ""
    assert read.spec.model == SPEC.model


def test_fields_that_a_newer_version_wrote_are_left_out(decoder):
    newer = json.loads(encode(service()))
    newer["moon_phase"] = {"full": True}
    newer["spec"]["quantum"] = 7
    newer["launch"]["files"][0]["sha256"] = "0"
    assert decoder.decode(ServiceRecord, json.dumps(newer), "row") == service()


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", "[]", "{}", encode(service()).replace('"ready"', '"dreaming"')],
    ids=["empty", "cut", "null", "list", "no fields", "unknown state"],
)
def test_row_that_cannot_be_read_is_named_and_told_once(decoder, caplog, text):
    caplog.set_level(logging.ERROR)
    with pytest.raises(StoreError) as caught:
        decoder.decode(ServiceRecord, text, "services 'chat'")
    assert decoder.decode_or_none(ServiceRecord, text, "services 'chat'") is None
    assert "services 'chat' of /state/gpumod.db" in caught.value.detail
    assert list(decoder.unreadable.values()) == [caught.value.detail]
    assert [record.getMessage() for record in caplog.records] == [caught.value.detail]


@pytest.mark.parametrize("number", [math.inf, -math.inf])
def test_infinity_is_kept(decoder, number):
    record = replace(service(), spec=replace(SPEC, drain=Drain(deadline=number)))
    assert decoder.decode(ServiceRecord, encode(record), "row") == record


def test_text_that_is_not_unicode_is_kept_readable(decoder):
    name = b"caf\xe9 \xf0\x9f\x9a\x80".decode("utf-8", "surrogateescape")
    read = decoder.decode(ServiceRecord, encode(replace(service(), reason=name)), "row")
    assert read == replace(service(), reason="caf? 🚀")
    assert clean("caf\udce9") == "caf?"
    assert json.loads(encode({"name": "caf\udce9", "n": {1, 2}}))["name"] == "caf?"


def test_data_that_contains_itself_is_refused():
    data: dict[str, object] = {}
    data["self"] = data
    with pytest.raises(StoreError, match="cannot be written as JSON"):
        encode(data)


def test_a_thousand_unreadable_rows_do_not_fill_the_log(decoder, caplog):
    for number in range(1000):
        assert decoder.decode_or_none(Lease, "{}", f"leases {number}") is None
    assert len(decoder.unreadable) == len(caplog.records) == 100
