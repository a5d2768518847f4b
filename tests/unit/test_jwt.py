"""JSON Web Tokens through the JWT authenticator, with PyJWT as the maker and as the second judge."""

from __future__ import annotations

import base64
import json
from functools import cache
from typing import Any

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from pys_multi import App
from pys_multi.auth import JWT
from pys_multi.errors import DefinitionError, HTTPError
from pys_multi.http import Request
from pys_multi.jwt import KeySet

NOW = 1_800_000_000
ISSUER = "https://issuer.example"
CLAIMS = {"iss": ISSUER, "aud": "shop", "sub": "user-1", "exp": NOW + 600, "iat": NOW}
SECRET = "a secret that is long enough for every HMAC there is: 64 bytes and more of text"


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pys_multi.auth.time", lambda: NOW)


@cache
def private_key(kind: str) -> Any:
    if kind == "EC256":
        return ec.generate_private_key(ec.SECP256R1())
    if kind == "EC384":
        return ec.generate_private_key(ec.SECP384R1())
    return ed25519.Ed25519PrivateKey.generate() if kind == "OKP" else rsa.generate_private_key(65537, 2048)


KINDS = {
    "RS256": "RSA",
    "RS384": "RSA",
    "RS512": "RSA",
    "PS256": "RSA",
    "PS384": "RSA",
    "PS512": "RSA",
    "ES256": "EC256",
    "ES384": "EC384",
    "EdDSA": "OKP",
}


def jwk(algorithm: str, kid: str | None = "key-1", **members: Any) -> dict[str, Any]:
    made = pyjwt.get_algorithm_by_name(algorithm)
    public: dict[str, Any] = made.to_jwk(private_key(KINDS[algorithm]).public_key(), as_dict=True)
    public.pop("key_ops", None)
    return {**public, **({"kid": kid} if kid is not None else {}), **members}


def make(algorithm: str = "RS256", claims: Any = CLAIMS, kid: str | None = "key-1", **header: Any) -> str:
    headers = {**({"kid": kid} if kid is not None else {}), **header}
    key = SECRET if algorithm.startswith("HS") else private_key(KINDS[algorithm])
    return pyjwt.encode(claims, key, algorithm=algorithm, headers=headers)


def raw(header: Any, payload: Any = CLAIMS, signature: bytes = b"", algorithm: str = "RS256") -> str:
    """A token of any header and payload, signed properly unless a signature is given."""

    def part(value: Any) -> str:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    signed = f"{part(header)}.{part(payload)}"
    if not signature:
        signature = pyjwt.get_algorithm_by_name(algorithm).sign(signed.encode(), private_key(KINDS[algorithm]))
    return f"{signed}.{part(signature)}"


def tokens(*algorithms: str, keys: list[dict[str, Any]] | None = None, **options: Any) -> JWT:
    found = keys if keys is not None else [jwk(algorithm) for algorithm in algorithms or ("RS256",)]
    given_ = {"issuer": ISSUER, "audience": "shop", "algorithms": algorithms or ("RS256",), **options}
    return JWT(jwks={"keys": found}, **given_)


def with_token(token: str, header: str = "Authorization", word: str = "Bearer ") -> Request:
    return Request("GET", "/", headers={header: word + token})


def refusal(auth: JWT, token: str) -> HTTPError:
    with pytest.raises(HTTPError) as caught:
        auth.authenticate(with_token(token))
    return caught.value


class Secrets:
    def __init__(self, **values: str) -> None:
        self.values = values

    def secret_value(self, name: str) -> str:
        return self.values[name]


def handles(**values: str) -> list[Any]:
    app = App("shop")
    app.backend = Secrets(**values)  # type: ignore[assignment]
    return [app.secret(name) for name in values]


# --- every algorithm


@pytest.mark.parametrize("algorithm", KINDS)
def test_a_token_of_every_algorithm_is_accepted(algorithm: str) -> None:
    claims = tokens(algorithm).authenticate(with_token(make(algorithm)))
    assert claims == CLAIMS


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_a_token_of_a_shared_secret_is_accepted(algorithm: str) -> None:
    auth = JWT(issuer=ISSUER, audience="shop", secret=handles(KEY=SECRET), algorithms=[algorithm])
    token = make(algorithm)
    assert auth.authenticate(with_token(token)) == CLAIMS
    other = JWT(issuer=ISSUER, audience="shop", secret=handles(KEY=SECRET + "x"), algorithms=[algorithm])
    assert "does not fit" in refusal(other, token).detail


def test_a_shared_secret_rotates() -> None:
    auth = JWT(issuer=ISSUER, audience="shop", secret=handles(NEW="n" * 64, OLD=SECRET))
    assert auth.algorithms == ("HS256",)
    assert auth.authenticate(with_token(make("HS256"))) == CLAIMS


def test_a_short_shared_secret_is_an_error_of_the_service_not_of_the_caller() -> None:
    auth = JWT(issuer=ISSUER, audience="shop", secret=handles(KEY="x" * 31))
    with pytest.raises(ValueError, match="32 bytes"):
        auth.authenticate(with_token(make("HS256")))


@pytest.mark.parametrize("algorithm", KINDS)
def test_an_algorithm_that_was_not_named_is_refused(algorithm: str) -> None:
    others = [other for other in KINDS if other != algorithm]
    error = refusal(tokens(*others, keys=[jwk(algorithm)]), make(algorithm))
    assert (error.status, "algorithm" in error.detail) == (401, True)


# --- forgeries


def test_none_is_no_algorithm() -> None:
    for name in ("none", "None", "NONE", "nOnE", ""):
        token = raw({"alg": name, "typ": "JWT", "kid": "key-1"}, signature=b"x")
        for forged in (token, token.rpartition(".")[0] + "."):
            assert "algorithm" in refusal(tokens(), forged).detail


def test_a_public_key_is_no_secret() -> None:
    import hmac

    from cryptography.hazmat.primitives import serialization

    public = private_key("RSA").public_key()
    for encoding, form in [
        (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        (serialization.Encoding.DER, serialization.PublicFormat.PKCS1),
    ]:
        key = public.public_bytes(encoding, form)
        signed = raw({"alg": "HS256", "kid": "key-1"}, signature=b"x").rpartition(".")[0]
        mac = base64.urlsafe_b64encode(hmac.digest(key, signed.encode(), "sha256")).rstrip(b"=").decode()
        assert "algorithm" in refusal(tokens(), f"{signed}.{mac}").detail


def test_secrets_and_keys_never_mix_in_one_authenticator() -> None:
    with pytest.raises(DefinitionError, match="HS256"):
        tokens("RS256", "HS256", keys=[jwk("RS256")])
    with pytest.raises(DefinitionError, match="RS256"):
        JWT(issuer=ISSUER, audience="shop", secret=handles(KEY=SECRET), algorithms=["HS256", "RS256"])
    with pytest.raises(DefinitionError, match="none"):
        tokens("none", keys=[jwk("RS256")])


def test_a_key_that_the_token_brings_along_is_not_used() -> None:
    stranger = rsa.generate_private_key(65537, 2048)
    own = json.loads(pyjwt.get_algorithm_by_name("RS256").to_jwk(stranger.public_key()))
    token = pyjwt.encode(CLAIMS, stranger, algorithm="RS256", headers={"jwk": own, "kid": "key-1"})
    assert "does not fit" in refusal(tokens(), token).detail
    token = pyjwt.encode(CLAIMS, stranger, algorithm="RS256", headers={"jku": "https://evil.example/", "kid": "x"})
    assert "does not publish" in refusal(tokens(), token).detail


def test_a_token_of_another_algorithm_of_the_same_key_is_refused() -> None:
    # The header says PS256, the signature is one of RS256, and the key could do both.
    header = {"alg": "PS256", "kid": "key-1"}
    forged = raw(header, algorithm="RS256")
    assert "does not fit" in refusal(tokens("PS256", "RS256", keys=[jwk("RS256", alg=None)]), forged).detail


def test_critical_extensions_are_refused() -> None:
    for extension in (["b64"], [], "exp", None):
        assert "critical" in refusal(tokens(), raw({"alg": "RS256", "kid": "key-1", "crit": extension})).detail


@pytest.mark.parametrize("kind", ["logout+jwt", "dpop+jwt", "JWE", "", 5, None])
def test_a_token_of_another_type_is_refused(kind: Any) -> None:
    assert "type" in refusal(tokens(), raw({"alg": "RS256", "kid": "key-1", "typ": kind})).detail


@pytest.mark.parametrize("kind", ["JWT", "jwt", "at+jwt", "application/at+jwt"])
def test_plain_and_access_tokens_are_accepted(kind: str) -> None:
    assert tokens().authenticate(with_token(raw({"alg": "RS256", "kid": "key-1", "typ": kind}))) == CLAIMS


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_token_with_one_character_changed_is_refused(data: st.DataObject) -> None:
    algorithm = data.draw(st.sampled_from(["RS256", "ES256", "EdDSA"]))
    token = make(algorithm)
    position = data.draw(st.integers(0, len(token) - 1))
    alphabet = "ABCXYZabcxyz0189-_.=+/ \tä"
    character = data.draw(st.sampled_from(alphabet).filter(lambda c: c != token[position]))
    changed = token[:position] + character + token[position + 1 :]
    assert refusal(tokens(algorithm), changed).status == 401


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=80))
def test_any_text_is_refused(text: str) -> None:
    auth = tokens()
    try:
        assert auth.authenticate(with_token(text)) is None
    except HTTPError as error:
        assert error.status == 401  # noqa: PT017 - either outcome is right


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "a.b.c.d.e",
        make().replace(".", "", 1),
        make() + ".",
        "." + make(),
        make() + "=",
        make() + "==",
        make().rstrip("=") + "A",
        make()[:-1],
        " ".join(make().split(".")),
        "x" * 20_000,
    ],
    ids=range(15),  # the key differs in each process
)
def test_malformed_tokens_are_refused(text: str) -> None:
    assert refusal(tokens(), text).status == 401


def test_base64url_has_one_form() -> None:
    token = make()
    signed, _, signature = token.rpartition(".")
    # 256 bytes leave four bits of the last character unused: A and B would be the same bytes.
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet.index(signature[-1])
    for bits in range(1, 16):
        twin = f"{signed}.{signature[:-1]}{alphabet[last ^ bits]}"
        assert pyjwt.utils.base64url_decode(twin.rpartition(".")[2]) == pyjwt.utils.base64url_decode(signature)
        assert "base64url" in refusal(tokens(), twin).detail


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'"RS256"',
        b"{",
        b"\xff",
        b'{"alg": "RS256", "alg": "none"}',
        b'{"alg": ["RS256"]}',
        b'{"alg": null}',
        b'{"alg": "RS256", "kid": 1}',
        b'{"alg": "RS256", "kid": null}',
        b'{"alg": "RS256", "x": NaN}',
        b"[" * 5000,
    ],
)
def test_malformed_headers_are_refused(header: bytes) -> None:
    assert refusal(tokens(), raw(header)).status == 401


@pytest.mark.parametrize(
    "payload",
    [b"", b"[]", b"null", b"text", b"\xff", b'{"iss": "a", "iss": "b"}', b'{"exp": NaN}', b'{"exp": Infinity}'],
)
def test_malformed_payloads_are_refused(payload: bytes) -> None:
    assert refusal(tokens(), raw({"alg": "RS256", "kid": "key-1"}, payload)).status == 401


# --- keys


def test_the_key_is_chosen_by_its_id() -> None:
    other = {**jwk("PS256"), "kid": "other"}
    auth = tokens("RS256", keys=[other, jwk("RS256")])
    assert auth.authenticate(with_token(make())) == CLAIMS
    assert "does not publish" in refusal(auth, make(kid="third")).detail


def test_without_an_id_there_must_be_one_suiting_key() -> None:
    assert tokens("RS256", keys=[jwk("ES256", None), jwk("RS256", None)]).authenticate(with_token(make(kid=None)))
    assert tokens("RS256", keys=[jwk("RS256", "named")]).authenticate(with_token(make(kid=None)))
    auth = tokens("RS256", keys=[jwk("RS256", "one"), jwk("RS256", "two")])
    assert "which key" in refusal(auth, make(kid=None)).detail
    auth = tokens("RS256", keys=[jwk("RS256"), jwk("RS256")])
    assert "which key" in refusal(auth, make()).detail


@pytest.mark.parametrize(
    "change",
    [
        {"use": "enc"},
        {"key_ops": ["encrypt"]},
        {"key_ops": "verify"},
        {"alg": "PS256"},
        {"alg": "RS512"},
        {"alg": 5},
        {"kty": "oct", "k": "c2VjcmV0"},
        {"kty": "EC"},
        {"kty": None},
        {"n": "AQAB"},
        {"n": None},
        {"n": 5},
        {"n": "=="},
        {"e": "AQ"},
        {"e": "AA"},
    ],
)
def test_keys_that_are_for_something_else_or_unsound_are_not_used(change: dict[str, Any]) -> None:
    auth = tokens("RS256", keys=[jwk("ES256", "another"), {**jwk("RS256"), **change}])
    assert refusal(auth, make()).status == 401
    with pytest.raises(DefinitionError, match="no key"):
        tokens("RS256", keys=[{**jwk("RS256"), **change}]) if change != {"alg": "PS256"} and change != {
            "alg": "RS512"
        } else tokens("RS256", keys=[])


@pytest.mark.parametrize("document", [None, [], {}, {"keys": {}}, {"keys": None}, "keys"])
def test_what_is_no_key_set_is_refused(document: Any) -> None:
    with pytest.raises(ValueError, match="Key Set"):
        KeySet(document)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda c: (
            st.lists(c)
            | st.dictionaries(st.sampled_from(["kty", "n", "e", "x", "y", "crv", "use", "alg", "key_ops", "kid"]), c)
        ),
    )
)
def test_any_keys_are_read_without_an_accident(keys: Any) -> None:
    KeySet({"keys": [keys]})


# --- claims


def accepted(claims: dict[str, Any], **options: Any) -> bool:
    auth = tokens(**options)
    try:
        return auth.authenticate(with_token(make(claims=claims))) == claims
    except HTTPError as error:
        if error.status == 401:
            return False
        raise


def test_expiry_is_required_and_has_leeway() -> None:
    assert accepted({**CLAIMS, "exp": NOW - 29})
    assert not accepted({**CLAIMS, "exp": NOW - 30})
    assert not accepted({**CLAIMS, "exp": NOW}, leeway=0)
    assert accepted({**CLAIMS, "exp": NOW + 0.5}, leeway=0)
    assert not accepted({name: value for name, value in CLAIMS.items() if name != "exp"})
    assert accepted({name: value for name, value in CLAIMS.items() if name != "exp"}, require=())


def test_not_before_and_issued_at() -> None:
    for name in ("nbf", "iat"):
        assert accepted({**CLAIMS, name: NOW + 30})
        assert not accepted({**CLAIMS, name: NOW + 31})


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("value", ["1900000000", True, None, [], {}])
def test_times_are_numbers(name: str, value: Any) -> None:
    # PyJWT checks the types of the times that it is given, so this token is made by hand.
    assert refusal(tokens(), raw({"alg": "RS256", "kid": "key-1"}, {**CLAIMS, name: value})).status == 401


def test_the_issuer_is_compared_exactly() -> None:
    for issuer in (ISSUER + "/", ISSUER.upper(), "", None, [ISSUER], {"iss": ISSUER}):
        assert "issuer" in refusal(tokens(), raw({"alg": "RS256", "kid": "key-1"}, {**CLAIMS, "iss": issuer})).detail
    assert "issuer" in refusal(tokens(), make(claims={"aud": "shop", "exp": NOW + 1})).detail
    assert accepted(CLAIMS, issuer=["https://other.example", ISSUER])


def test_one_audience_of_the_token_must_be_ours() -> None:
    assert accepted({**CLAIMS, "aud": ["other", "shop"]})
    assert accepted({**CLAIMS, "aud": "mobile"}, audience=["shop", "mobile"])
    assert accepted({**CLAIMS, "aud": "other"}, audience=None)
    for audience in ("sho", "shop2", "", [], ["other"], None, 5, ["shop", 5], {"shop": 1}, [["shop"]]):
        token = raw({"alg": "RS256", "kid": "key-1"}, {**CLAIMS, "aud": audience})
        assert "aud" in refusal(tokens(), token).detail
    assert "audience" in refusal(tokens(), make(claims={"iss": ISSUER, "exp": NOW + 1})).detail


def test_required_claims() -> None:
    assert "tenant" in refusal(tokens(require=("exp", "tenant")), make()).detail
    assert accepted({**CLAIMS, "tenant": "a"}, require=("exp", "tenant"))
    token = raw({"alg": "RS256", "kid": "key-1"}, {**CLAIMS, "sub": 5})
    assert "sub" in refusal(tokens(), token).detail


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({"scope": "orders:read orders:write"}, 200),
        ({"scp": ["orders:write", "orders:read"]}, 200),
        ({"scp": "orders:read orders:write"}, 200),
        ({"scope": "orders:read"}, 403),
        ({"scope": "orders:readorders:write"}, 403),
        ({"scope": 5}, 403),
        ({"scope": None}, 403),
        ({}, 403),
    ],
)
def test_a_missing_scope_is_403(claims: dict[str, Any], status: int) -> None:
    auth = tokens(scopes="orders:read").with_scopes("orders:write")
    token = make(claims={**CLAIMS, **claims})
    if status == 200:
        assert auth.authenticate(with_token(token))
        return
    error = refusal(auth, token)
    assert error.status == 403
    assert "orders:write" in error.detail
    assert error.headers["www-authenticate"] == ('Bearer error="insufficient_scope", scope="orders:read orders:write"')


def test_with_scopes_leaves_the_original_alone() -> None:
    auth = tokens()
    auth.with_scopes("orders:write")
    assert auth.authenticate(with_token(make())) == CLAIMS


@settings(max_examples=100, deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "iss": st.sampled_from([ISSUER, "https://other.example"]),
            "aud": st.sampled_from(["shop", "other", ["shop"], ["other", "shop"], []]),
            "exp": st.integers(NOW - 100, NOW + 100),
            "nbf": st.integers(NOW - 100, NOW + 100),
            "iat": st.integers(NOW - 100, NOW + 100),
            "sub": st.text(),
        },
    )
)
def test_claims_are_judged_as_pyjwt_judges_them(claims: dict[str, Any]) -> None:
    token = make("EdDSA", claims)
    public = private_key("OKP").public_key()
    with pytest.MonkeyPatch.context() as patch:

        class Clock:
            @staticmethod
            def now(tz: Any = None) -> Any:
                import datetime

                return datetime.datetime.fromtimestamp(NOW, tz)

        patch.setattr("jwt.api_jwt.datetime", Clock)
        try:
            expected: Any = pyjwt.decode(
                token,
                public,
                algorithms=["EdDSA"],
                issuer=ISSUER,
                audience="shop",
                leeway=30,
                options={"require": ["exp"]},
            )
        except pyjwt.InvalidTokenError:
            expected = None
    try:
        found: Any = tokens("EdDSA").authenticate(with_token(token))
    except HTTPError:
        found = None
    assert found == expected


# --- the request


def test_no_token_is_nobody() -> None:
    auth = tokens()
    assert auth.authenticate(Request("GET", "/")) is None
    assert auth.authenticate(with_token("dXNlcjpwYXNz", word="Basic ")) is None
    assert auth.authenticate(with_token(make(), word="")) is None
    assert auth.challenge == "Bearer"


def test_the_word_bearer_has_no_case() -> None:
    assert tokens().authenticate(with_token(make(), header="authorization", word="bEARER  ")) == CLAIMS


def test_two_tokens_are_refused() -> None:
    request = Request("GET", "/", headers=[("Authorization", "Bearer " + make())] * 2)
    with pytest.raises(HTTPError) as caught:
        tokens().authenticate(request)
    assert caught.value.status == 401


def test_another_header_carries_the_bare_token() -> None:
    auth = tokens(header="Cf-Access-Jwt-Assertion")
    assert auth.authenticate(with_token(make(), header="cf-access-jwt-assertion", word="")) == CLAIMS
    assert auth.authenticate(with_token(make())) is None


def test_a_refusal_says_why_in_its_challenge() -> None:
    error = refusal(tokens(), make(claims={**CLAIMS, "exp": NOW - 100}))
    assert (error.status, error.detail) == (401, "the token has expired")
    challenge = error.headers["www-authenticate"]
    assert challenge == 'Bearer error="invalid_token", error_description="the token has expired"'
    error = refusal(tokens(require=("exp", 'we"ird\\')), make())
    assert error.headers["www-authenticate"].count('"') == 4


def test_principals_are_independent_of_each_other_and_expire_though_remembered() -> None:
    auth = tokens()
    token = make(claims={**CLAIMS, "roles": ["user"]})
    first = auth.authenticate(with_token(token))
    assert first is not None
    first["roles"].append("admin")
    assert auth.authenticate(with_token(token))["roles"] == ["user"]  # type: ignore[index]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pys_multi.auth.time", lambda: NOW + 631)
        assert "expired" in refusal(auth, token).detail


def test_what_is_remembered_is_bounded() -> None:
    auth = tokens("EdDSA")
    for number in range(300):
        assert auth.authenticate(with_token(make("EdDSA", {**CLAIMS, "n": number})))
    assert len(auth._remembered) <= 256


def test_describe_says_how_to_call_and_no_secret() -> None:
    assert tokens(scopes=["a", "b"]).describe() == {
        "kind": "jwt",
        "header": "authorization",
        "issuer": [ISSUER],
        "audience": ["shop"],
        "algorithms": ["RS256"],
        "scopes": ["a", "b"],
    }
    auth = JWT(issuer=ISSUER, audience=None, secret=handles(KEY=SECRET))
    assert auth.describe()["secrets"] == ["KEY"]
    assert SECRET not in repr(auth.describe())
    auth = JWT(issuer=ISSUER, audience=None, jwks_url="https://issuer.example/keys")
    assert auth.describe()["jwks_url"] == "https://issuer.example/keys"
    json.dumps(auth.describe())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "one of jwks_url"),
        ({"jwks_url": "https://a.example", "jwks": {"keys": []}}, "one of jwks_url"),
        ({"jwks": {"keys": []}}, "no key"),
        ({"jwks": {}}, "Key Set"),
        ({"secret": "the secret itself"}, "never the secret itself"),
        ({"secret": []}, "handles"),
        ({"jwks": {"keys": [jwk("RS256")]}, "issuer": ""}, "issuer"),
        ({"jwks": {"keys": [jwk("RS256")]}, "issuer": []}, "issuer"),
        ({"jwks": {"keys": [jwk("RS256")]}, "audience": ""}, "audience"),
        ({"jwks": {"keys": [jwk("RS256")]}, "algorithms": []}, "algorithms"),
        ({"jwks": {"keys": [jwk("RS256")]}, "leeway": 601}, "leeway"),
        ({"jwks": {"keys": [jwk("RS256")]}, "leeway": -1}, "leeway"),
    ],
)
def test_wrong_definitions_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(DefinitionError, match=text):
        JWT(**{"issuer": ISSUER, "audience": "shop", **options})
