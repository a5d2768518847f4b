"""Messages that failed all their deliveries: looked at, and put back into their queue ("Service Bus runtime REST")."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from pys_multi_providers.azure import invoking
from pys_multi_providers.azure.clouds import CLOUDS
from pys_multi_providers.azure.engine import Engine
from pys_multi_providers.azure.events import ATTRIBUTES, ENCODING, GROUP, SENT
from pys_multi_providers.azure.observe import Named, queue_names
from pys_multi_tools import calling
from pys_multi_tools.deployment import DeadLetter
from pys_multi_tools.errors import ProviderError
from pys_multi_tools.suggest import did_you_mean

Json = dict[str, Any]

_DEAD = "$DeadLetterQueue"
#: Of what Service Bus says of a message, what a sender may say again.
_SENT_AGAIN = ("MessageId", "SessionId", "CorrelationId", "Label", "ReplyTo", "ReplyToSessionId", "To", "PartitionKey")
#: Headers that are no property of the message.
_TRANSPORT = frozenset(
    (
        *("brokerproperties", "connection", "content-length", "content-type", "date", "keep-alive", "location"),
        *("server", "strict-transport-security", "transfer-encoding", "vary", "x-ms-request-id"),
    )
)
_REASONS = ("deadletterreason", "deadlettererrordescription")


@dataclass(frozen=True, slots=True)
class _Locked:
    """A dead letter that nobody else sees for a minute. lock: path of what settles it. properties: as the headers have
    them, in JSON."""

    lock: str
    broker: Json
    body: bytes
    properties: dict[str, str]


def dead_letters(engine: Engine, queue: str, limit: int) -> list[DeadLetter]:
    """The oldest dead letters; they stay where they are."""
    named = _named(engine, queue)
    found: list[_Locked] = []
    try:
        found.extend(_received(engine, named, limit))
    finally:
        for message in found:
            _settle(engine, message, "PUT")
    letters = [_letter(queue, message) for message in found]
    return sorted(letters, key=lambda letter: letter.sent_at)


def redrive(engine: Engine, queue: str, ids: Sequence[str] | None) -> int:
    """Puts dead letters back into their queue: sent first and deleted then, so that none is lost.

    Those of a subscription would go to everybody who subscribed to its topic. They are handed to the handler of this
    one instead, once; what fails again stays a dead letter. Returns how many are none any more.
    """
    named = _named(engine, queue)
    count = 0
    others = []
    try:
        for message in _received(engine, named, None):
            is_wanted = ids is None or message.broker.get("MessageId") in ids
            if not is_wanted or not _again(engine, named, message):
                others.append(message)
                continue
            _settle(engine, message, "DELETE")
            count += 1
    finally:
        for message in others:
            _settle(engine, message, "PUT")
    return count


def _again(engine: Engine, named: Named, message: _Locked) -> bool:
    """Whether a dead letter is in its queue again, or was handled."""
    if named.kind != "subscription":
        _send(engine, named, message)
        return True
    function, trigger = next((f, t) for f in engine.service.functions for t in f.triggers if t.id == named.name)
    letter = _letter(named.name, message)
    again = {**calling.body_fields(letter.body), "id": letter.id, "sent_at": letter.sent_at}
    return not invoking.deliver(engine, function, trigger, {**again, "attributes": dict(letter.attributes)}).error


def _received(engine: Engine, named: Named, limit: int | None) -> Iterator[_Locked]:
    """Dead letters, each once."""
    path = f"/{_path(named)}/{quote(_DEAD)}/messages/head?timeout=1"
    seen: set[int] = set()
    while limit is None or len(seen) < limit:
        answer = engine.cloud.call("service_bus", "POST", f"https://{_host(engine)}{path}", body=b"", once=True)
        if answer.status != 201:
            return
        broker = json.loads(answer.headers["brokerproperties"])
        lock = urlsplit(answer.headers["location"]).path
        properties = {name: value for name, value in answer.fields if name.lower() not in _TRANSPORT}
        message = _Locked(lock, broker, answer.body, properties)
        if broker["SequenceNumber"] in seen:  # its lock ran out: all of them were seen
            _settle(engine, message, "PUT")
            return
        seen.add(broker["SequenceNumber"])
        yield message


def _settle(engine: Engine, message: _Locked, method: str) -> None:
    """DELETE: it is gone. PUT: others see it again; where its lock ran out they do already."""
    may = (404, 410) if method == "PUT" else ()
    engine.cloud.call("service_bus", method, f"https://{_host(engine)}{message.lock}", body=b"", may=may)


def _send(engine: Engine, named: Named, message: _Locked) -> None:
    """As a batch of one: there, properties keep their names, as header fields do not. A body that is no text, which
    is nobody's of pys-multi, cannot be in one."""
    properties = {n: v for n, v in message.properties.items() if n.lower() not in _REASONS and _is_json(v)}
    broker = {name: message.broker[name] for name in _SENT_AGAIN if name in message.broker}
    try:
        entry = {"Body": message.body.decode(), "UserProperties": {n: json.loads(v) for n, v in properties.items()}}
    except UnicodeDecodeError:
        headers, body = {**properties, "BrokerProperties": json.dumps(broker)}, message.body
    else:
        headers = {"Content-Type": "application/vnd.microsoft.servicebus.json"}
        body = json.dumps([{**entry, "BrokerProperties": broker}]).encode()
    url = f"https://{_host(engine)}/{_path(named)}/messages"
    engine.cloud.call("service_bus", "POST", url, headers=headers, body=body, once=True)


def _letter(queue: str, message: _Locked) -> DeadLetter:
    given = {_own(name): _plain(v) for name, v in message.properties.items() if name.lower() not in _REASONS}
    is_binary = given.pop(ENCODING, "") == "base64"
    packed, _, sent = (given.pop(name, "") for name in (ATTRIBUTES, GROUP, SENT))
    if packed:  # a delayed message came in header fields
        given |= json.loads(unquote(packed) if sent else packed)
    said = [_plain(value) for name, value in message.properties.items() if name.lower() in _REASONS]
    enqueued = message.broker.get("EnqueuedTimeUtc")
    return DeadLetter(
        queue=queue,
        id=str(message.broker.get("MessageId", "")),
        reason="; ".join(said) or "failed all of its deliveries; pys-multi logs has the errors",
        body=base64.b64decode(message.body) if is_binary else message.body,
        attributes=given,
        attempts=int(message.broker.get("DeliveryCount") or 0),
        sent_at=float(sent or (parsedate_to_datetime(enqueued).timestamp() if enqueued else time.time())),
    )


def _own(name: str) -> str:
    """Names of properties of pys-multi's own, which may have come in another case."""
    return name.lower() if name.lower().startswith("pys-multi-") else name


def _is_json(value: str) -> bool:
    try:
        json.loads(value)
    except ValueError:
        return False
    return True


def _plain(value: str) -> str:
    """A property as a header has it: JSON."""
    try:
        found = json.loads(value)
    except ValueError:
        return value
    return found if isinstance(found, str) else json.dumps(found)


def _named(engine: Engine, queue: str) -> Named:
    """Raises ProviderError for a queue that is none."""
    known = {named.name: named for named in queue_names(engine)}
    if queue not in known:
        where = f"stage {engine.deployment.stage}"
        raise ProviderError(f"there is no queue '{queue}'", where=where, hint=did_you_mean(queue, list(known)))
    if engine.stack.read() is None:
        raise ProviderError("nothing was deployed", where=f"deployment {engine.names.deployment}", hint="deploy first")
    return known[queue]


def _path(named: Named) -> str:
    if named.kind == "subscription":
        topic, subscription = named.path
        return f"{quote(topic)}/subscriptions/{quote(subscription)}"
    return quote(named.path[0])


def _host(engine: Engine) -> str:
    return f"{engine.names.namespace}.{CLOUDS[engine.settings.cloud].service_bus}"
