#!/usr/bin/env python3
"""Makes dealing.json: known answers for placement, Merkle trees, Shamir's scheme and the signed
formats around them, sharing no code with the project.

Only Python's standard library, written from the definitions: ranges and owners from PROTOCOL 2.4,
RFC 6962 2.1 (recursive), RFC 5869, GF(256) with 0x11d, CBOR from RFC 8949 4.2.1.
Run it in this directory.
"""
import hashlib
import hmac
import json
import struct

CHANNEL = "blocktorrent"


def cbor_head(major, value):
    if value < 24:
        return bytes([major << 5 | value])
    for extra, limit, form in ((24, 1 << 8, ">B"), (25, 1 << 16, ">H"), (26, 1 << 32, ">I")):
        if value < limit:
            return bytes([major << 5 | extra]) + struct.pack(form, value)
    return bytes([major << 5 | 27]) + struct.pack(">Q", value)


def cbor(value):
    if isinstance(value, int):
        return cbor_head(0, value)
    if isinstance(value, bytes):
        return cbor_head(2, len(value)) + value
    if isinstance(value, str):
        return cbor_head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return cbor_head(4, len(value)) + b"".join(map(cbor, value))
    pairs = sorted((cbor(key), cbor(item)) for key, item in value.items())
    return cbor_head(5, len(pairs)) + b"".join(key + item for key, item in pairs)


def sha256(data):
    return hashlib.sha256(data).digest()


def pattern(size):
    return bytes((7 * i + (i >> 8)) & 0xFF for i in range(size))


def ranges(weights):
    total, before, result = sum(weights.values()), 0, []
    for name in sorted(weights):
        result.append((name, (before << 64) // total))
        before += weights[name]
    return result


def place(table, source, count, words):
    names = [name for name, _ in table]
    others = [name for name in names if name != source]
    chosen = []
    for word in words[: min(count, len(others))]:
        at = max(i for i, (_, start) in enumerate(table) if start <= word)
        order = names[at:] + names[:at]
        chosen.append(next(n for n in order if n != source and n not in chosen))
    if len(chosen) < count and source in names:
        chosen.append(source)
    return chosen


def words_of(data, count):
    digests = [hashlib.sha3_256(data), hashlib.sha384(data), hashlib.sha512(data)]
    return [
        int.from_bytes(digests[turn % 3].digest()[8 * (turn // 3) :][:8], "big")
        for turn in range(count)
    ]


def holders(table, file_id, nonces, source, n):
    words = []
    for index in range(1, n + 1):
        data = cbor(["blocktorrent/holder/v1", file_id, sorted(nonces), index])
        words.append(int.from_bytes(hashlib.sha3_256(data).digest()[:8], "big"))
    return place(table, source, n, words)


def tree(leaves):
    if len(leaves) == 1:
        return sha256(b"\0" + leaves[0])
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return sha256(b"\1" + tree(leaves[:split]) + tree(leaves[split:]))


def path(index, leaves):
    if len(leaves) == 1:
        return []
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    if index < split:
        return path(index, leaves[:split]) + [tree(leaves[split:])]
    return path(index - split, leaves[split:]) + [tree(leaves[:split])]


def gf_multiply(a, b):
    product = 0
    while b:
        if b & 1:
            product ^= a
        a <<= 1
        if a & 0x100:
            a ^= 0x11D
        b >>= 1
    return product


def hkdf_sha512(key, info, size):
    secret = hmac.new(bytes(64), key, hashlib.sha512).digest()
    return hmac.new(secret, info + b"\1", hashlib.sha512).digest()[:size]


def coefficient(secret, entropy, context, index):
    info = cbor(["blocktorrent/coefficient/v1", *context, index])
    return hkdf_sha512(secret + entropy, info, 64)


def shamir(secret, rows, n):
    padded = bytes(15) + b"\1" + secret
    shares = []
    for x in range(1, n + 1):
        share = bytearray()
        for at, byte in enumerate(padded):
            value, power = byte, 1
            for row in rows:
                power = gf_multiply(power, x)
                value ^= gf_multiply(row[47 - at], power)
            share.append(value)
        shares.append(bytes(share))
    return shares


BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
P = 2**255 - 19


def bech32(prefix, data):
    def polymod(values):
        check = 1
        for value in values:
            top = check >> 25
            check = (check & 0x1FFFFFF) << 5 ^ value
            for i, gen in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
                check ^= gen if top >> i & 1 else 0
        return check

    bits = "".join(f"{byte:08b}" for byte in data)
    bits += "0" * (-len(bits) % 5)
    five = [int(bits[i : i + 5], 2) for i in range(0, len(bits), 5)]
    head = [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]
    check = polymod(head + five + [0] * 6) ^ 1
    return prefix + "1" + "".join(BECH32[v] for v in five + [check >> 5 * (5 - i) & 31 for i in range(6)])


def x25519_base(scalar):
    k = int.from_bytes(scalar, "little") & ~7 & (2**255 - 1) | 2**254
    x1, x2, z2, x3, z3, swap = 9, 1, 0, 9, 1, 0
    for t in range(254, -1, -1):
        bit = k >> t & 1
        if swap ^ bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = bit
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        da, cb = d * a, c * b
        x3, z3 = (da + cb) ** 2 % P, x1 * (da - cb) ** 2 % P
        aa, bb = a * a % P, b * b % P
        e = aa - bb
        x2, z2 = aa * bb % P, e * (aa + 121665 * e) % P
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, P - 2, P) % P).to_bytes(32, "little")


def placement():
    cases = []
    for weights, source, replicas in (
        ({"Org1MSP": 1, "Org2MSP": 1, "Org3MSP": 1, "Org4MSP": 1}, "Org1MSP", 3),
        ({"Org1MSP": 1, "Org2MSP": 1, "Org3MSP": 1}, "Org1MSP", 3),
        ({"B": 3, "A": 1, "a": 2, "C": 1000, "D": 7}, "C", 2),
        ({f"Org{i}MSP": 1 for i in range(1, 11)}, "Org5MSP", 5),
        ({"A": 1, "B": 1}, "Z", 3),
    ):
        table = ranges(weights)
        cases.append(
            {
                "weights": weights,
                "ranges": [{"mspId": name, "start": f"{start:016x}"} for name, start in table],
                "source": source,
                "replicas": replicas,
                "owners": [
                    {"bytes": size, "owners": place(table, source, replicas, words_of(pattern(size), replicas))}
                    for size in (0, 1, 2, 3, 5, 8, 13, 16384)
                ],
                "nonces": [pattern(16).hex(), bytes(16).hex(), pattern(48)[32:].hex()],
                "holders": [
                    {
                        "fileId": sha256(bytes([i])).hex(),
                        "holders": holders(
                            table, sha256(bytes([i])), [pattern(16), bytes(16), pattern(48)[32:]], source, 3
                        ),
                    }
                    for i in range(6)
                ],
            }
        )
    return cases


def merkle():
    cases = []
    for count in (1, 2, 3, 4, 5, 6, 7, 8, 9, 13):
        leaves = [sha256(bytes([i])) for i in range(count)]
        cases.append(
            {
                "leaves": [leaf.hex() for leaf in leaves],
                "root": tree(leaves).hex(),
                "proofs": [[step.hex() for step in path(i, leaves)] for i in range(count)],
            }
        )
    return cases


IDENTITY = bytes([pattern(32)[0] & 248]) + pattern(31 + 1)[1:31] + bytes([pattern(32)[31] & 127 | 64])
RECIPIENT = bech32("age", x25519_base(IDENTITY))
FILE_ID = sha256(b"file")
TX_ID = sha256(b"tx")


def dealing():
    k, n, entropy = 3, 5, pattern(96)[64:]
    context = ["shamir-gf256", FILE_ID.hex(), TX_ID.hex(), k, n]
    rows = [coefficient(IDENTITY, entropy, context, j) for j in range(1, k)]
    shards = [
        cbor(
            {
                "version": 1,
                "scheme": "shamir-gf256",
                "fileId": FILE_ID,
                "index": i + 1,
                "k": k,
                "n": n,
                "share": share,
            }
        )
        for i, share in enumerate(shamir(IDENTITY, rows, n))
    ]
    hashes = [sha256(shard) for shard in shards]
    return {
        "identity": IDENTITY.hex(),
        "entropy": entropy.hex(),
        "txId": TX_ID.hex(),
        "input": {
            "fileId": FILE_ID.hex(),
            "recipient": RECIPIENT,
            "scheme": "shamir-gf256",
            "k": k,
            "n": n,
            "holders": [f"Org{i}MSP" for i in (2, 5, 3, 6, 4)],
        },
        "shards": [shard.hex() for shard in shards],
        "shardHashes": [one.hex() for one in hashes],
        "merkleRoot": tree(hashes).hex(),
        "proofs": [[step.hex() for step in path(i, hashes)] for i in range(n)],
    }


def formats():
    size, piece = 16384 * 2 + 5, 16384
    data = pattern(size)
    chunks = [data[i : i + piece] for i in range(0, size, piece)]
    pieces = b"".join(hashlib.sha1(chunk).digest() for chunk in chunks)
    info = b"d6:lengthi%de4:name4:file12:piece lengthi%de6:pieces%d:" % (size, piece, len(pieces))
    info += pieces + b"7:privatei1ee"
    digests = b"".join(
        hashlib.sha3_256(c).digest() + hashlib.sha384(c).digest() + hashlib.sha512(c).digest()
        for c in chunks
    )
    manifest = cbor(
        {
            "version": 1,
            "channel": CHANNEL,
            "source": "Org1MSP",
            "gateway": "gateway-1",
            "seq": 7,
            "previous": sha256(b"six"),
            "kind": "batch",
            "epoch": 2,
            "timeMs": 1_800_000_000_123,
            "recipient": RECIPIENT,
            "ciphertextBytes": size,
            "ciphertextSha256": sha256(data),
            "info": info,
            "digests": digests,
        }
    )
    receipt = cbor(
        {
            "version": 1,
            "channel": CHANNEL,
            "fileId": sha256(manifest),
            "source": "Org1MSP",
            "owner": "Org2MSP",
            "peer": "admin",
            "epoch": 2,
            "chunkCount": 3,
            "chunks": bytes([0b10100000]),
            "nonce": pattern(16),
            "timeMs": 1_800_000_000_456,
        }
    )
    table = cbor(
        {
            "version": 1,
            "manifest": {
                "manifest": manifest,
                "signature": pattern(64),
                "mspId": "Org1MSP",
                "peer": "gateway-1",
            },
            "names": ["Org2MSP", "Org3MSP", "Org4MSP"],
            "owners": [bytes([2, 0, 1]), bytes([1, 2, 0]), bytes([0, 1])],
            "receipts": [
                {"receipt": receipt, "signature": pattern(64), "mspId": "Org2MSP", "peer": "admin"}
            ],
            "timeMs": 1_800_000_000_789,
        }
    )
    return {
        "manifest": manifest.hex(),
        "fileId": sha256(manifest).hex(),
        "info": info.hex(),
        "digests": digests.hex(),
        "recipient": RECIPIENT,
        "receipt": receipt.hex(),
        "masterTable": table.hex(),
    }


if __name__ == "__main__":
    with open("dealing.json", "w") as out:
        json.dump(
            {
                "madeBy": "make-dealing-vectors.py",
                "pattern": "byte i is (7 * i + (i >> 8)) mod 256",
                "placement": placement(),
                "merkle": merkle(),
                "dealing": dealing(),
                "formats": formats(),
            },
            out,
            indent=1,
        )
        out.write("\n")
