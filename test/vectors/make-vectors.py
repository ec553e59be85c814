#!/usr/bin/env python3
"""Makes protocol.json: known answers that share no code with the project.

Only Python's standard library: hashlib for hashes, and encoders written from the specifications
(CBOR: RFC 8949 4.2.1, bencode: BEP 3, Padme: PURBs, algorithm 1). Run it in this directory.
"""
import hashlib
import json
import math
import struct


def cbor_head(major, value):
    if value < 24:
        return bytes([major << 5 | value])
    for extra, limit, form in ((24, 1 << 8, ">B"), (25, 1 << 16, ">H"), (26, 1 << 32, ">I")):
        if value < limit:
            return bytes([major << 5 | extra]) + struct.pack(form, value)
    return bytes([major << 5 | 27]) + struct.pack(">Q", value)


def cbor(value):
    if value is None:
        return b"\xf6"
    if isinstance(value, bool):
        return b"\xf5" if value else b"\xf4"
    if isinstance(value, int):
        return cbor_head(0, value) if value >= 0 else cbor_head(1, -1 - value)
    if isinstance(value, bytes):
        return cbor_head(2, len(value)) + value
    if isinstance(value, str):
        return cbor_head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return cbor_head(4, len(value)) + b"".join(map(cbor, value))
    pairs = sorted((cbor(key), cbor(item)) for key, item in value.items())
    return cbor_head(5, len(pairs)) + b"".join(key + item for key, item in pairs)


def padme(size):
    if size < 2:
        return size
    exponent = math.floor(math.log2(size))
    mantissa = math.floor(math.log2(exponent)) + 1 if exponent else 1
    mask = (1 << max(0, exponent - mantissa)) - 1
    return (size + mask) & ~mask


def pattern(size):
    return bytes((7 * i + (i >> 8)) & 0xFF for i in range(size))


def digests(size):
    data = pattern(size)
    return {
        "bytes": size,
        "sha3": hashlib.sha3_256(data).hexdigest(),
        "sha384": hashlib.sha384(data).hexdigest(),
        "sha512": hashlib.sha512(data).hexdigest(),
    }


def infodict(name, piece_length, length):
    data = pattern(length)
    pieces = b"".join(
        hashlib.sha1(data[at : at + piece_length]).digest() for at in range(0, length, piece_length)
    )
    info = b"d6:lengthi%de4:name%d:%s12:piece lengthi%de6:pieces%d:%s7:privatei1ee" % (
        length, len(name.encode()), name.encode(), piece_length, len(pieces), pieces,
    )
    return {
        "name": name,
        "pieceLength": piece_length,
        "length": length,
        "pieces": pieces.hex(),
        "info": info.hex(),
        "infoHash": hashlib.sha1(info).hexdigest(),
    }


def chain():
    readings = [
        [1, 1700000000123, 5000, "boot-a", True, "cold/room/1", 1, False, False,
         b'{"t":-18.5}', "room-1", 7, 1700000000100, None, None, False, []],
        [2, 1700000000456, 5333, "boot-a", True, "cold/room/1", 1, True, False,
         b'{"t":-18.5}', "room-1", 7, 1700000000100, 1, None, True, []],
        [3, 1700000001000, 0, "boot-b", False, "t\u00fcr/\u2744", 0, False, True,
         b"\xff\x00not json", None, None, None, None, "not JSON", False, []],
        [4, 1700000002000, 1000, "boot-b", True, "lab/senml", 1, False, False,
         b"\x81\xa0", "lab", None, 1700000001500, None, None, False,
         [[None, "lab/t", "Cel", 1700000001500, -18.25], ["x", "big", "", None, 1e300],
          [None, "state", "", None, "open"]]],
    ]
    names = ["seq", "receivedMs", "monotonicMs", "bootId", "clockSynchronised", "topic", "qos",
             "dup", "retain", "payload", "sensor", "deviceSeq", "deviceMs", "duplicateOf", "refusal",
             "historical", "samples"]
    previous = bytes(32)
    out = []
    for fields in readings:
        samples = [[struct.pack(">d", item) if isinstance(item, float) else item for item in sample]
                   for sample in fields[-1]]
        hashed = fields[:-1] + [samples]
        previous = hashlib.sha256(cbor(["blocktorrent/reading/v1", previous] + hashed)).digest()
        reading = dict(zip(names, fields))
        keys = ["sensor", "name", "unit", "timeMs", "value"]
        reading["samples"] = [dict(zip(keys, sample)) for sample in fields[-1]]
        reading["payload"] = reading["payload"].hex()
        out.append({"reading": reading, "hash": previous.hex()})
    return out


def message(value):
    def plain(item):
        return {"hex": item.hex()} if isinstance(item, bytes) else item
    return {"value": {key: plain(item) for key, item in value.items()}, "cbor": cbor(value).hex()}


signature = bytes(range(64))
vectors = {
    "madeBy": "make-vectors.py",
    "pattern": "byte i is (7 * i + (i >> 8)) mod 256",
    "cborCanonical": [
        {"json": json.dumps(value), "cbor": cbor(value).hex()}
        for value in [
            {"b": 1, "aa": 2, "a": 3, "": 4},
            {"z" * 24: [], "b" * 23: {}, "c": [[1, -1], None, True, False]},
            [0, 23, 24, 255, 256, 65535, 65536, 4294967295, 4294967296, 9007199254740991],
            [-1, -24, -25, -256, -257, -65537, -4294967297, -9007199254740991],
            "\u00fc\u6c34\U00010151",
        ]
    ],
    "signingInput": {
        "domain": "blocktorrent/receipt/v1",
        "channel": "blocktorrent",
        "body": "00ff10",
        "input": cbor(["blocktorrent/receipt/v1", "blocktorrent", b"\x00\xff\x10"]).hex(),
    },
    "padme": [
        [size, padme(size)]
        for size in [0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 33, 100, 255, 256, 257, 1000, 1023, 1024, 1025,
                     4097, 65535, 65536, 65537, 99999, 1000000, 16777217, 200000000, 4294967297,
                     274877906943]
    ],
    "digests": [digests(size) for size in [0, 1, 135, 136, 137, 16384, 20000]],
    "infodicts": [
        infodict("a", 16384, 1),
        infodict("sealed.age", 16384, 16384),
        infodict("k\u00fchl.age", 16384, 16385),
        infodict("x", 32768, 100000),
    ],
    "chain": chain(),
    "manifestMessages": [
        message({"t": "offer", "manifest": b"\xa0", "signature": signature, "mspId": "Org1MSP",
                 "peer": "gateway-1"}),
        message({"t": "accept", "have": b"\x80\x01"}),
        message({"t": "refuse", "code": "quota", "reason": "over 10 files"}),
    ],
    "receiptMessage": message({"receipt": b"\x01\x02\x03", "signature": signature,
                               "mspId": "Org2MSP", "peer": "admin"}),
    "address": message({"name": "gateway-1", "mspId": "Org1MSP", "host": "10.0.0.7", "port": 6881,
                        "timeMs": 1700000000000}),
    "addressWithDoors": message({"name": "admin", "mspId": "Org2MSP", "host": "2001:db8::7",
                                 "port": 6881, "timeMs": 1700000000000,
                                 "plain": {"host": "10.0.0.7", "port": 6882},
                                 "tracker": {"host": "10.0.0.7", "port": 6969}}),
    "callMessage": message({"infoHash": bytes(range(20))}),
    "standingHash": hashlib.sha1(b"blocktorrent/standing/blocktorrent").hexdigest(),
}
with open("protocol.json", "w", encoding="ascii") as out:
    json.dump(vectors, out, indent=1)
    out.write("\n")
