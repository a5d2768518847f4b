"""Verification of the signatures that JSON Web Tokens use (RFC 7518, RFC 8037), with integers alone.

Only public data is computed with here: keys, messages and signatures that the sender has too. So the time
a calculation takes can tell nobody anything. Nothing in here signs.

A key is checked when it is made; ``verify`` then only says whether a signature fits.
"""

from __future__ import annotations

import hashlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class PublicKey(Protocol):
        """A public key and which algorithms it is for."""

        algorithms: tuple[str, ...]

        def verify(self, algorithm: str, message: bytes, signature: bytes, /) -> bool: ...


# DigestInfo of EMSA-PKCS1-v1_5 up to the hash (RFC 8017, section 9.2, note 1).
_DIGEST_INFO = {
    "sha256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "sha384": bytes.fromhex("3041300d060960864801650304020205000430"),
    "sha512": bytes.fromhex("3051300d060960864801650304020305000440"),
}


class RsaKey:
    """RS256 to RS512 (RSASSA-PKCS1-v1_5) and PS256 to PS512 (RSASSA-PSS), RFC 8017.

    Raises ValueError for a modulus under 2,048 bits (RFC 7518, section 3.3) or over 8,192, which would let
    a key set cost a function its time.
    """

    __slots__ = ("_exponent", "_modulus", "_size", "algorithms")

    def __init__(self, modulus: int, exponent: int) -> None:
        bits = modulus.bit_length()
        if not 2048 <= bits <= 8192 or modulus % 2 == 0:
            raise ValueError(f"an RSA key of {bits} bits; 2,048 to 8,192 are allowed")
        if exponent < 3 or exponent % 2 == 0 or exponent.bit_length() > 32:
            raise ValueError("an RSA key whose exponent is not an odd number from 3 to 2^32")
        self._modulus = modulus
        self._exponent = exponent
        self._size = (bits + 7) // 8
        self.algorithms: tuple[str, ...] = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")

    def verify(self, algorithm: str, message: bytes, signature: bytes) -> bool:
        """Whether the signature is of this message by this key."""
        number = int.from_bytes(signature)
        if len(signature) != self._size or number >= self._modulus:
            return False
        encoded = pow(number, self._exponent, self._modulus).to_bytes(self._size)
        hash_name = "sha" + algorithm[2:]
        digest = hashlib.new(hash_name, message).digest()
        if algorithm[0] == "P":
            return _is_pss(encoded, digest, hash_name, self._modulus.bit_length() - 1)
        # Built and compared as a whole: to parse the padding is how forgeries got through.
        suffix = _DIGEST_INFO[hash_name] + digest
        return encoded == b"\0\1" + b"\xff" * (self._size - len(suffix) - 3) + b"\0" + suffix


def _is_pss(encoded: bytes, digest: bytes, hash_name: str, bits: int) -> bool:
    """EMSA-PSS-VERIFY (RFC 8017, section 9.1.2), the salt as long as the hash (RFC 7518, section 3.5)."""
    length = (bits + 7) // 8
    if len(encoded) != length:  # one byte more where the modulus has 8k + 1 bits: it must be zero
        if encoded[0]:
            return False
        encoded = encoded[1:]
    size = len(digest)
    masked, seed, trailer = encoded[: length - size - 1], encoded[length - size - 1 : -1], encoded[-1]
    if trailer != 0xBC or masked[0] >> (8 - (8 * length - bits)):
        return False
    mask = b"".join(
        hashlib.new(hash_name, seed + counter.to_bytes(4)).digest() for counter in range(-(-len(masked) // size))
    )[: len(masked)]
    block = (int.from_bytes(masked) ^ int.from_bytes(mask)) & ((1 << (bits - 8 * (size + 1))) - 1)
    padded = block.to_bytes(len(masked))
    if padded[:-size] != b"\0" * (len(masked) - size - 1) + b"\1":
        return False
    return hashlib.new(hash_name, b"\0" * 8 + digest + padded[-size:]).digest() == seed


class _Curve:
    """A short Weierstrass curve y² = x³ - 3x + b over a prime field (FIPS 186-4, appendix D)."""

    __slots__ = ("b", "generator", "order", "prime", "size")

    def __init__(self, prime: int, b: int, order: int, generator: tuple[int, int]) -> None:
        self.prime = prime
        self.b = b
        self.order = order
        self.generator = generator
        self.size = (prime.bit_length() + 7) // 8


# SEC 2, version 2.0, sections 2.4.2 and 2.5.1.
_CURVES = {
    "P-256": _Curve(
        prime=2**256 - 2**224 + 2**192 + 2**96 - 1,
        b=0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B,
        order=0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
        generator=(
            0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
            0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
        ),
    ),
    "P-384": _Curve(
        prime=2**384 - 2**128 - 2**96 + 2**32 - 1,
        b=0xB3312FA7E23EE7E4988E056BE3F82D19181D9C6EFE8141120314088F5013875AC656398D8A2ED19D2A85C8EDD3EC2AEF,
        order=0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,
        generator=(
            0xAA87CA22BE8B05378EB1C71EF320AD746E1D3B628BA79B9859F741E082542A385502F25DBF55296C3A545E3872760AB7,
            0x3617DE4A96262C6F5D9E98BF9292DC29F8F41DBD289A147CE9DA3113B5F0B8C00A60B1CE1D7E819D7A431D7C90EA0E5F,
        ),
    ),
}
_CURVE_ALGORITHMS = {"P-256": "ES256", "P-384": "ES384"}


class EcKey:
    """ES256 and ES384: ECDSA (FIPS 186-4, section 6.4) on P-256 and P-384.

    Raises ValueError for another curve, and for a point that is not on it.
    """

    __slots__ = ("_curve", "_point", "algorithms")

    def __init__(self, curve_name: str, x: int, y: int) -> None:
        curve = _CURVES.get(curve_name)
        if curve is None:
            raise ValueError(f"a key on curve {curve_name!r}; {', '.join(_CURVES)} are known")
        p = curve.prime
        if not (0 <= x < p and 0 <= y < p) or (y * y - (x * x * x - 3 * x + curve.b)) % p:
            raise ValueError(f"a key that is no point of {curve_name}")
        self._curve = curve
        self._point = (x, y)
        self.algorithms: tuple[str, ...] = (_CURVE_ALGORITHMS[curve_name],)

    def verify(self, algorithm: str, message: bytes, signature: bytes) -> bool:
        """Whether the signature, r and s side by side (RFC 7518, section 3.4), is of this message by this key."""
        curve = self._curve
        size, order = curve.size, curve.order
        if len(signature) != 2 * size:
            return False
        r, s = int.from_bytes(signature[:size]), int.from_bytes(signature[size:])
        if not (0 < r < order and 0 < s < order):
            return False
        # The hash of each algorithm is as long as its curve's order: nothing to cut off.
        e = int.from_bytes(hashlib.new("sha" + algorithm[2:], message).digest())
        w = pow(s, -1, order)
        point = _add_multiples(curve, e * w % order, r * w % order, self._point)
        return point is not None and point[0] % order == r


_Jacobian = tuple[int, int, int]


def _add_multiples(curve: _Curve, u: int, v: int, point: tuple[int, int]) -> tuple[int, int] | None:
    """u·G + v·point in affine coordinates; None for the point at infinity."""
    p = curve.prime
    both = _affine(_add((*curve.generator, 1), point, p), p)
    total: _Jacobian = (1, 1, 0)
    for bit in range(max(u.bit_length(), v.bit_length()) - 1, -1, -1):
        total = _double(total, p)
        of_u, of_v = u >> bit & 1, v >> bit & 1
        addend = both if of_u and of_v else curve.generator if of_u else point if of_v else None
        if addend is not None:
            total = _add(total, addend, p)
    return _affine(total, p)


def _double(point: _Jacobian, p: int) -> _Jacobian:
    x, y, z = point
    zz = z * z % p
    yy = y * y % p
    beta = x * yy % p
    alpha = 3 * (x - zz) * (x + zz) % p
    x3 = (alpha * alpha - 8 * beta) % p
    return x3, (alpha * (4 * beta - x3) - 8 * yy * yy) % p, 2 * y * z % p


def _add(point: _Jacobian, other: tuple[int, int], p: int) -> _Jacobian:
    x1, y1, z1 = point
    x2, y2 = other
    if z1 == 0:
        return x2, y2, 1
    zz = z1 * z1 % p
    h = (x2 * zz - x1) % p
    r = (y2 * z1 * zz - y1) % p
    if h == 0:
        return _double(point, p) if r == 0 else (1, 1, 0)
    hh = h * h % p
    hhh = h * hh % p
    v = x1 * hh % p
    x3 = (r * r - hhh - 2 * v) % p
    return x3, (r * (v - x3) - y1 * hhh) % p, z1 * h % p


def _affine(point: _Jacobian, p: int) -> tuple[int, int] | None:
    x, y, z = point
    if z == 0:
        return None
    inverse = pow(z, -1, p)
    square = inverse * inverse % p
    return x * square % p, y * square * inverse % p


# RFC 8032, section 5.1.
_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
_ROOT = pow(2, (_P - 1) // 4, _P)

_Edwards = tuple[int, int, int, int]


class Ed25519Key:
    """EdDSA on Ed25519 (RFC 8032). Raises ValueError for 32 bytes that are no point, or one of small order."""

    __slots__ = ("_bytes", "_negated", "algorithms")

    def __init__(self, encoded: bytes) -> None:
        point = _decode_point(encoded)
        if point is None:
            raise ValueError("a key that is no point of Ed25519")
        eightfold = point
        for _ in range(3):
            eightfold = _edwards_add(eightfold, eightfold)
        if eightfold[0] % _P == 0:
            # Such a key has signatures that fit more than one message.
            raise ValueError("a key of small order")
        x, y, z, t = point
        self._bytes = encoded
        self._negated = (-x % _P, y, z, -t % _P)
        self.algorithms: tuple[str, ...] = ("EdDSA", "Ed25519")

    def verify(self, _algorithm: str, message: bytes, signature: bytes, /) -> bool:
        """Whether the signature is of this message by this key (section 5.1.7, without the cofactor)."""
        if len(signature) != 64:
            return False
        encoded_r, s = signature[:32], int.from_bytes(signature[32:], "little")
        if s >= _L:
            return False
        k = int.from_bytes(hashlib.sha512(encoded_r + self._bytes + message).digest(), "little") % _L
        both = _edwards_add(_BASE, self._negated)
        total: _Edwards = (0, 1, 1, 0)
        for bit in range(252, -1, -1):
            total = _edwards_add(total, total)
            of_s, of_k = s >> bit & 1, k >> bit & 1
            if of_s or of_k:
                total = _edwards_add(total, both if of_s and of_k else _BASE if of_s else self._negated)
        return _encode_point(total) == encoded_r


def _edwards_add(first: _Edwards, second: _Edwards) -> _Edwards:
    x1, y1, z1, t1 = first
    x2, y2, z2, t2 = second
    a = (y1 - x1) * (y2 - x2) % _P
    b = (y1 + x1) * (y2 + x2) % _P
    c = 2 * t1 * t2 * _D % _P
    d = 2 * z1 * z2 % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _decode_point(encoded: bytes) -> _Edwards | None:
    if len(encoded) != 32:
        return None
    number = int.from_bytes(encoded, "little")
    sign, y = number >> 255, number & ((1 << 255) - 1)
    if y >= _P:
        return None
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _ROOT % _P
    if (x * x - square) % _P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = _P - x
    return x, y, 1, x * y % _P


def _encode_point(point: _Edwards) -> bytes:
    x, y, z, _ = point
    inverse = pow(z, -1, _P)
    return (y * inverse % _P | (x * inverse % _P & 1) << 255).to_bytes(32, "little")


_BASE_X = 15112221349535400772501151409588531511454012693041857206046113283949847762202
_BASE_Y = 4 * pow(5, -1, _P) % _P
_BASE: _Edwards = (_BASE_X, _BASE_Y, 1, _BASE_X * _BASE_Y % _P)
