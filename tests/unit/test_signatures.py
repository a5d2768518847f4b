"""The signature checks against the `cryptography` package: its keys, its signatures, and damaged ones."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from hypothesis import given, settings
from hypothesis import strategies as st

from pys_multi.signatures import EcKey, Ed25519Key, RsaKey

HASHES: dict[str, Any] = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
CURVES: dict[str, Any] = {
    "P-256": (ec.SECP256R1(), hashes.SHA256(), "ES256", 32),
    "P-384": (ec.SECP384R1(), hashes.SHA384(), "ES384", 48),
}
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@cache
def rsa_pair(bits: int = 2048, number: int = 0) -> tuple[rsa.RSAPrivateKey, RsaKey]:
    private = rsa.generate_private_key(65537, bits)
    public = private.public_key().public_numbers()
    return private, RsaKey(public.n, public.e)


def sign_rsa(private: rsa.RSAPrivateKey, algorithm: str, message: bytes) -> bytes:
    hash_ = HASHES[algorithm[2:]]
    scheme = padding.PSS(padding.MGF1(hash_), hash_.digest_size) if algorithm[0] == "P" else padding.PKCS1v15()
    return private.sign(message, scheme, hash_)


@cache
def ec_pair(curve: str) -> tuple[ec.EllipticCurvePrivateKey, EcKey]:
    private = ec.generate_private_key(CURVES[curve][0])
    public = private.public_key().public_numbers()
    return private, EcKey(curve, public.x, public.y)


def sign_ec(private: ec.EllipticCurvePrivateKey, curve: str, message: bytes) -> bytes:
    _, hash_, _, size = CURVES[curve]
    r, s = utils.decode_dss_signature(private.sign(message, ec.ECDSA(hash_)))
    return r.to_bytes(size) + s.to_bytes(size)


RSA_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]


@pytest.mark.parametrize("algorithm", RSA_ALGORITHMS)
# 2049 bits: the encoded message of PSS is a byte shorter than the modulus. 2050: no bit is spare.
@pytest.mark.parametrize("bits", [2048, 2049, 2050, 2055, 3072])
def test_rsa_signatures_verify(algorithm: str, bits: int) -> None:
    private, public = rsa_pair(bits)
    signature = sign_rsa(private, algorithm, b"message")
    assert public.verify(algorithm, b"message", signature)
    assert not public.verify(algorithm, b"another", signature)
    assert not rsa_pair(bits, 1)[1].verify(algorithm, b"message", signature)
    for other in RSA_ALGORITHMS:
        assert public.verify(other, b"message", signature) is (other == algorithm)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(RSA_ALGORITHMS), st.binary(max_size=100), st.data())
def test_damaged_rsa_signatures_do_not_verify(algorithm: str, message: bytes, data: st.DataObject) -> None:
    private, public = rsa_pair()
    signature = sign_rsa(private, algorithm, message)
    assert public.verify(algorithm, message, signature)
    bit = data.draw(st.integers(0, len(signature) * 8 - 1))
    damaged = (int.from_bytes(signature) ^ (1 << bit)).to_bytes(len(signature))
    assert not public.verify(algorithm, message, damaged)


def test_rsa_signatures_have_one_form() -> None:
    private, public = rsa_pair()
    modulus = private.public_key().public_numbers().n
    signature = sign_rsa(private, "RS256", b"m")
    more = int.from_bytes(signature) + modulus  # congruent, and so the same to pow()
    for changed in [
        b"",
        signature[:-1],
        signature + b"\0",
        b"\0" + signature,
        more.to_bytes(257),
        b"\0" * 256,
        b"\0" * 255 + b"\1",
        modulus.to_bytes(256),
    ]:
        assert not public.verify("RS256", b"m", changed)
        assert not public.verify("PS256", b"m", changed)


def _raw_rsa(private: rsa.RSAPrivateKey, encoded: bytes) -> bytes:
    numbers = private.private_numbers()
    return pow(int.from_bytes(encoded), numbers.d, numbers.public_numbers.n).to_bytes(len(encoded))


def test_rsa_padding_is_compared_as_a_whole() -> None:
    import hashlib

    private, public = rsa_pair()
    info = bytes.fromhex("3031300d060960864801650304020105000420")
    digest = hashlib.sha256(b"m").digest()

    def encoded(head: bytes, filler: bytes, tail: bytes) -> bytes:
        return head + filler * ((256 - len(head) - len(tail)) // len(filler)) + tail

    assert public.verify("RS256", b"m", _raw_rsa(private, encoded(b"\0\1", b"\xff", b"\0" + info + digest)))
    for wrong in [
        encoded(b"\0\2", b"\xff", b"\0" + info + digest),
        encoded(b"\0\1", b"\xfe", b"\0" + info + digest),
        encoded(b"\0\1", b"\xff", b"\0" + digest),  # no DigestInfo
        encoded(b"\0\1", b"\xff", b"\0" + bytes.fromhex("302f300b0609608648016503040201") + b"\x04\x20" + digest),
        b"\0\1" + b"\xff" * 8 + b"\0" + info + digest + b"\0" * (256 - 11 - len(info) - 32),  # Bleichenbacher 2006
    ]:
        assert len(wrong) == 256
        assert not public.verify("RS256", b"m", _raw_rsa(private, wrong))


def test_pss_of_another_salt_length_or_hash_does_not_verify() -> None:
    private, public = rsa_pair()
    sha256, sha512 = hashes.SHA256(), hashes.SHA512()
    for scheme, hash_ in [
        (padding.PSS(padding.MGF1(sha256), 0), sha256),
        (padding.PSS(padding.MGF1(sha256), 31), sha256),
        (padding.PSS(padding.MGF1(sha256), 33), sha256),
        (padding.PSS(padding.MGF1(sha512), 32), sha256),
    ]:
        assert not public.verify("PS256", b"m", private.sign(b"m", scheme, hash_))


@pytest.mark.parametrize(
    ("modulus", "exponent"),
    [
        (0, 3),
        (2**1023 + 1, 65537),
        (2**2046 + 1, 65537),
        (2**8192 + 1, 65537),
        (2**2047, 65537),  # even
        (2**2047 + 1, 1),
        (2**2047 + 1, 0),
        (2**2047 + 1, 65536),
        (2**2047 + 1, 2**32 + 1),
    ],
)
def test_unsound_rsa_keys_are_refused(modulus: int, exponent: int) -> None:
    with pytest.raises(ValueError, match="RSA key"):
        RsaKey(modulus, exponent)


@pytest.mark.parametrize("curve", CURVES)
def test_ec_signatures_verify(curve: str) -> None:
    private, public = ec_pair(curve)
    algorithm = CURVES[curve][2]
    for number in range(10):
        message = b"message %d" % number
        signature = sign_ec(private, curve, message)
        assert public.verify(algorithm, message, signature)
        assert not public.verify(algorithm, message + b"x", signature)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(list(CURVES)), st.data())
def test_damaged_ec_signatures_do_not_verify(curve: str, data: st.DataObject) -> None:
    private, public = ec_pair(curve)
    signature = sign_ec(private, curve, b"m")
    bit = data.draw(st.integers(0, len(signature) * 8 - 1))
    damaged = (int.from_bytes(signature) ^ (1 << bit)).to_bytes(len(signature))
    assert not public.verify(CURVES[curve][2], b"m", damaged)


def test_ec_signatures_of_other_forms_do_not_verify() -> None:
    private, public = ec_pair("P-256")
    signature = sign_ec(private, "P-256", b"m")
    r, s = signature[:32], signature[32:]
    zero, order = b"\0" * 32, P256_ORDER.to_bytes(32)
    for changed in [
        b"",
        signature[:-1],
        signature + b"\0",
        b"\0" + r + b"\0" + s,
        private.sign(b"m", ec.ECDSA(hashes.SHA256())),  # DER
        zero + zero,  # CVE-2022-21449
        zero + s,
        r + zero,
        order + s,
        r + order,
        order + order,
        r + b"\xff" * 32,
        s + r,
    ]:
        assert not public.verify("ES256", b"m", changed)


@pytest.mark.parametrize("scalar", [1, 2, 3, P256_ORDER - 1, P256_ORDER - 2])
def test_keys_next_to_the_generator(scalar: int) -> None:
    """Where adding the generator and the key meets doubling and the point at infinity."""
    private = ec.derive_private_key(scalar, ec.SECP256R1())
    numbers = private.public_key().public_numbers()
    public = EcKey("P-256", numbers.x, numbers.y)
    for number in range(5):
        signature = sign_ec(private, "P-256", b"%d" % number)
        assert public.verify("ES256", b"%d" % number, signature)
        assert not public.verify("ES256", b"%d " % number, signature)


def test_unsound_ec_keys_are_refused() -> None:
    numbers = ec_pair("P-256")[0].public_key().public_numbers()
    prime = 2**256 - 2**224 + 2**192 + 2**96 - 1
    for x, y in [(numbers.x, numbers.y + 1), (0, 0), (numbers.x + prime, numbers.y), (numbers.x, numbers.y - prime)]:
        with pytest.raises(ValueError, match="no point"):
            EcKey("P-256", x, y)
    with pytest.raises(ValueError, match="P-384"):
        EcKey("secp256k1", numbers.x, numbers.y)


def test_ed25519_signatures_verify() -> None:
    for number in range(10):
        private = ed25519.Ed25519PrivateKey.generate()
        public = Ed25519Key(private.public_key().public_bytes_raw())
        message = b"m" * number
        signature = private.sign(message)
        assert public.verify("EdDSA", message, signature)
        assert not public.verify("EdDSA", message + b"x", signature)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_ed25519_signatures_do_not_verify(data: st.DataObject) -> None:
    private = ed25519.Ed25519PrivateKey.from_private_bytes(b"k" * 32)
    public = Ed25519Key(private.public_key().public_bytes_raw())
    signature = bytearray(private.sign(b"m"))
    bit = data.draw(st.integers(0, 511))
    signature[bit // 8] ^= 1 << bit % 8
    assert not public.verify("EdDSA", b"m", bytes(signature))


def test_ed25519_of_rfc_8032() -> None:
    # Section 7.1, test 2.
    public = Ed25519Key(bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"))
    signature = bytes.fromhex(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    assert public.verify("EdDSA", b"\x72", signature)


def test_ed25519_signatures_have_one_form() -> None:
    private = ed25519.Ed25519PrivateKey.from_private_bytes(b"k" * 32)
    public = Ed25519Key(private.public_key().public_bytes_raw())
    signature = private.sign(b"m")
    order = 2**252 + 27742317777372353535851937790883648493
    s = int.from_bytes(signature[32:], "little")
    for changed in [
        b"",
        signature[:-1],
        signature + b"\0",
        signature[:32] + (s + order).to_bytes(32, "little"),
        signature[:32] + order.to_bytes(32, "little"),
        b"\0" * 64,
    ]:
        assert not public.verify("EdDSA", b"m", changed)


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b"\0" * 31,
        (2).to_bytes(32, "little"),  # no such y
        (2**255 - 19).to_bytes(32, "little"),  # y not reduced
        (1).to_bytes(32, "little"),  # the neutral element
        (0).to_bytes(32, "little"),  # of order 4
        (1 | 1 << 255).to_bytes(32, "little"),  # minus zero
        bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),  # of order 8
    ],
)
def test_unsound_ed25519_keys_are_refused(encoded: bytes) -> None:
    with pytest.raises(ValueError, match="a key"):
        Ed25519Key(encoded)
