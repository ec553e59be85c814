#!/usr/bin/env python3
"""Makes feldman.json: known answers for the key scheme `feldman-25519`, sharing no code with the
project.

Only Python's standard library and make-dealing-vectors.py beside it (CBOR, HKDF, Bech32, Merkle
trees, X25519's ladder). Written from the definitions: edwards25519 in affine coordinates and its
encoding from RFC 8032 5.1, its map to curve25519 from RFC 7748 4.1, the scheme from PROTOCOL 4.
Run it in this directory.
"""
import importlib
import json

base = importlib.import_module("make-dealing-vectors")

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
ROOT = pow(2, (P - 1) // 4, P)
ZERO = (0, 1)


def x_of(y, sign):
    u, v = (y * y - 1) % P, (D * y * y + 1) % P
    x = u * pow(v, -1, P) % P
    x = pow(x, (P + 3) // 8, P)
    if (v * x * x - u) % P:
        x = x * ROOT % P
    if (v * x * x - u) % P:
        return None
    return P - x if x and x % 2 != sign else x


B = (x_of(4 * pow(5, -1, P) % P, 0), 4 * pow(5, -1, P) % P)


def add(a, b):
    (x1, y1), (x2, y2) = a, b
    t = D * x1 * x2 * y1 * y2 % P
    x = (x1 * y2 + x2 * y1) * pow(1 + t, -1, P)
    y = (y1 * y2 + x1 * x2) * pow(1 - t, -1, P)
    return x % P, y % P


def times(k, a):
    result = ZERO
    while k:
        if k & 1:
            result = add(result, a)
        a, k = add(a, a), k >> 1
    return result


def encode(point):
    x, y = point
    return (y | (x & 1) << 255).to_bytes(32, "little")


def montgomery(point):
    y = point[1]
    return ((1 + y) * pow(1 - y, -1, P) % P).to_bytes(32, "little")


def clamp(key):
    return bytes([key[0] & 248]) + key[1:31] + bytes([key[31] & 127 | 64])


def number(data):
    return int.from_bytes(data, "little")


def little(value):
    return value.to_bytes(32, "little")


def value_at(polynomial, x):
    return sum(c * x**power for power, c in enumerate(polynomial)) % L


def seed(label):
    return base.sha256(label.encode())


def split(polynomial, n):
    return {
        "commitments": [encode(times(c, B)).hex() for c in polynomial],
        "shares": [little(value_at(polynomial, i)).hex() for i in range(1, n + 1)],
    }


def dealing(label, k, n, identity):
    entropy, file_id, tx_id = seed(label + "entropy"), seed(label + "file"), seed(label + "tx")
    context = ["feldman-25519", file_id.hex(), tx_id.hex(), k, n]
    polynomial = [number(clamp(identity)) % L]
    for j in range(1, k):
        polynomial.append(number(base.coefficient(identity, entropy, context, j)) % L)
    u = base.x25519_base(identity)
    assert montgomery(times(polynomial[0], B)) == u
    result = split(polynomial, n)
    shards = [
        base.cbor(
            {
                "version": 1,
                "scheme": "feldman-25519",
                "fileId": file_id,
                "index": i + 1,
                "k": k,
                "n": n,
                "share": bytes.fromhex(share),
            }
        )
        for i, share in enumerate(result["shares"])
    ]
    hashes = [base.sha256(shard) for shard in shards]
    return {
        "label": label,
        "identity": identity.hex(),
        "clamped": clamp(identity).hex(),
        "entropy": entropy.hex(),
        "txId": tx_id.hex(),
        "input": {
            "fileId": file_id.hex(),
            "recipient": base.bech32("age", u),
            "scheme": "feldman-25519",
            "k": k,
            "n": n,
            "holders": [f"Org{i}MSP" for i in range(2, n + 2)],
        },
        "signOfC0": times(polynomial[0], B)[0] & 1,
        "shards": [shard.hex() for shard in shards],
        "shardHashes": [one.hex() for one in hashes],
        "merkleRoot": base.tree(hashes).hex(),
        "proofs": [[step.hex() for step in base.path(i, hashes)] for i in range(n)],
        **result,
    }


def of_sign(sign):
    """An identity whose C_0 has this sign."""
    for turn in range(100):
        identity = clamp(seed(f"sign {sign} {turn}"))
        if times(number(identity) % L, B)[0] & 1 == sign:
            return identity


def rebuilt(label, secret):
    """What shares of a secret rebuild: an identity, or none in clamped form."""
    a = 8 * (secret * pow(8, -1, L) % L)
    assert a % L == secret and a % 8 == 0 and 0 < a < 8 * L
    fits = [one for one in (a, 8 * L - a) if 2**254 <= one < 2**255]
    polynomial = [secret, number(seed(label)) % L]
    u = montgomery(times(secret, B))
    if fits:
        assert base.x25519_base(little(fits[0])) == u
    return {
        "label": label,
        "branch": None if not fits else "a" if fits[0] == a else "8l - a",
        "recipient": base.bech32("age", u),
        "identity": little(fits[0]).hex() if fits else None,
        **split(polynomial, 3),
    }


def points():
    """Encodings that are no commitment, and why."""
    torsion = None
    for y in range(2, 100):
        x = x_of(y, 0)
        if x is not None:
            torsion = times(L, (x, y))
            if times(4, torsion) != ZERO:
                break
    good = times(number(seed("point")) % L, B)
    off = next(y for y in range(2, 100) if x_of(y, 0) is None)
    # y of the 19 that have a second, unreduced encoding of 255 bits: those on the curve.
    small = [y for y in range(19) if x_of(y, 0) is not None]
    cases = [("not on the curve", little(off))]
    cases += [("y not reduced", little(y + P)) for y in small]
    cases += [("y not reduced, sign", little(y + P + 2**255)) for y in small]
    cases += [
        ("x = 0 with its sign set", little(1 + 2**255)),
        ("x = 0 with its sign set, y = -1", little(P - 1 + 2**255)),
        ("the identity", encode(ZERO)),
    ]
    for i in range(1, 8):
        cases.append((f"low order, {i} of 8", encode(times(i, torsion))))
        cases.append((f"torsion, {i} of 8", encode(add(good, times(i, torsion)))))
    return {
        "good": encode(good).hex(),
        "order8": encode(torsion).hex(),
        "bad": [{"label": label, "point": point.hex()} for label, point in cases],
    }


def main():
    key = number(clamp(seed("rebuild")))
    highest = (b"\xff" * 32)
    vectors = {
        "madeBy": "make-feldman-vectors.py",
        "order": little(L).hex(),
        "dealings": [
            dealing("2 of 3", 2, 3, clamp(seed("2 of 3"))),
            dealing("3 of 5", 3, 5, clamp(seed("3 of 5"))),
            dealing("2 of 2, sign 0", 2, 2, of_sign(0)),
            dealing("2 of 2, sign 1", 2, 2, of_sign(1)),
            dealing("7 of 10, not clamped", 7, 10, b"\x07" + seed("raw")[1:31] + b"\xff"),
            dealing("lowest key", 2, 3, clamp(bytes(32))),
            dealing("highest key", 2, 3, clamp(highest)),
        ],
        "rebuilt": [
            rebuilt("a key", key % L),
            rebuilt("a key, negated", -key % L),
            rebuilt("lowest key, negated", -number(clamp(bytes(32))) % L),
            rebuilt("highest key, negated", -number(clamp(highest)) % L),
            rebuilt("a number too small for a key", 8),
            rebuilt("a number too small for a key, negated", -8 % L),
        ],
        "points": points(),
    }
    with open("feldman.json", "w") as out:
        json.dump(vectors, out, indent=1)
        out.write("\n")


if __name__ == "__main__":
    main()
