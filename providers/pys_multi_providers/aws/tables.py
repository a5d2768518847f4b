"""The verbs of tables on DynamoDB, and its values ↔ JSON values.

Reads are consistent: what was written is read. A null attribute counts as absent in conditions and to ``add``,
as on every provider; to DynamoDB it is a value of type NULL.

Key attributes have one type in DynamoDB, and the template makes it text. A number in a key is written as text that
sorts as numbers do, before all other text, and read back as the number.
"""

from __future__ import annotations

from pys_multi.encoding import to_json_value
from pys_multi.errors import ConditionFailed, ResourceError
from pys_multi.items import key_in, number_of, number_text
from pys_multi_providers.aws.calls import ConditionRefused, Refused, call, call_once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Any

    from pys_multi.backend import Condition, Key
    from pys_multi.resources import Table

    Item = dict[str, Any]
    #: A value as DynamoDB writes it, such as {"S": "text"}.
    Written = dict[str, Any]

#: In front of a number in a key. No text of a key begins with it.
_NUMBER = "\0"
#: Digits that a number of DynamoDB keeps ("Naming rules and data types", Number).
_MAX_DIGITS = 38
#: Updates tried again because an attribute turned from a number into null or back meanwhile.
_TRIES = 5


class TableVerbs:
    """The part of `AwsBackend` that is about tables.

    table: the name of a resource → its handle and the name of the table. client: the client; True for the one that
    never tries again by itself.
    """

    def __init__(self, table: Callable[[str], tuple[Table, str]], client: Callable[[bool], Any]) -> None:
        self._table = table
        self._dynamodb = client

    def table_get(self, table: str, key: Key) -> Item | None:
        handle, name = self._table(table)
        answer = call(
            self._dynamodb(False).get_item,
            f"table {table!r}",
            "dynamodb:GetItem",
            TableName=name,
            Key=_key(handle, key),
            ConsistentRead=True,
        )
        return _item(handle, answer["Item"]) if "Item" in answer else None

    def table_put(self, table: str, item: Item, condition: Condition) -> None:
        handle, name = self._table(table)
        written = {attribute: write(value) for attribute, value in item.items()}
        key = key_in(item, handle.key, handle.sort)
        expression = Expression(handle, condition)
        self._write(
            self._dynamodb(expression.counts_once).put_item,
            handle,
            key,
            "dynamodb:PutItem",
            expression,
            TableName=name,
            Item={**written, **_key(handle, key)},
        )

    def table_delete(self, table: str, key: Key, condition: Condition) -> None:
        handle, name = self._table(table)
        expression = Expression(handle, condition)
        self._write(
            self._dynamodb(expression.counts_once).delete_item,
            handle,
            key,
            "dynamodb:DeleteItem",
            expression,
            TableName=name,
            Key=_key(handle, key),
        )

    def table_update(
        self,
        table: str,
        key: Key,
        changes: Mapping[str, object],
        add: Mapping[str, float],
        remove: Iterable[str],
        condition: Condition,
    ) -> Item:
        handle, name = self._table(table)
        removed = tuple(remove)
        nulls: set[str] | None = None
        for _ in range(_TRIES):
            expression = Expression(handle, condition)
            expression.change(changes, add, removed, nulls)
            try:
                answer = self._write(
                    self._dynamodb(expression.counts_once).update_item,
                    handle,
                    key,
                    "dynamodb:UpdateItem",
                    expression,
                    TableName=name,
                    Key=_key(handle, key),
                    ReturnValues="ALL_NEW",
                )
                return _item(handle, answer["Attributes"])
            except Refused as error:
                if error.code != "ValidationException" or not add or nulls is not None:
                    raise
                # It adds to numbers and to what is absent, not to a null: the next try finds out which are.
                nulls = set()
            except ConditionRefused as error:
                if nulls is None or error.item is None:
                    raise
                found = {attribute: error.item.get(attribute, {"N": "0"}) for attribute in add}
                for attribute, written in found.items():
                    if "N" not in written and "NULL" not in written:
                        raise ValueError(
                            f"attribute {attribute!r} of an item of table {table!r} is not a number, nothing adds to it"
                        ) from error
                before, nulls = nulls, {attribute for attribute, written in found.items() if "NULL" in written}
                if nulls == before:
                    raise
        raise ResourceError(f"table {table!r}: an item was changed by others at each of {_TRIES} tries to update it")

    def _write(
        self, operation: Any, handle: Table, key: Key, action: str, expression: Expression, **arguments: Any
    ) -> Any:
        """A write with its expressions. Raises ConditionRefused that says what is otherwise."""
        make = call_once if expression.counts_once else call
        try:
            return make(operation, f"table {handle.name!r}", action, **arguments, **expression.arguments())
        except ConditionRefused as error:
            shown = " ".join(map(str, key))
            state = "there is no such item" if error.item is None else "it is not as the condition requires"
            named = ConditionRefused(f"item {shown} of table {handle.name!r}: {state}")
            named.item = error.item
            raise named from error.__cause__

    def table_query(
        self, table: str, partition: object, prefix: str | None, limit: int | None, reverse: bool
    ) -> Iterator[Item]:
        handle, name = self._table(table)
        client = self._dynamodb(False)
        arguments: dict[str, Any] = {"TableName": name, "ConsistentRead": True}
        if partition is None:
            return self._pages(handle, client.scan, "dynamodb:Scan", limit, arguments)
        names, values = {"#k": handle.key}, {":k": _key_value(partition)}
        condition = "#k = :k"
        if prefix is not None:
            assert handle.sort is not None  # the handle refuses a prefix without
            names["#s"] = handle.sort
            # No key is an empty text, and DynamoDB takes none to compare with; this is all text and no number.
            values[":s"] = {"S": prefix or "\x01"}
            condition += " AND begins_with(#s, :s)" if prefix else " AND #s >= :s"
        arguments |= {
            "KeyConditionExpression": condition,
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": values,
            "ScanIndexForward": not reverse,
        }
        return self._pages(handle, client.query, "dynamodb:Query", limit, arguments)

    def _pages(
        self, handle: Table, operation: Any, action: str, limit: int | None, arguments: dict[str, Any]
    ) -> Iterator[Item]:
        while True:
            if limit is not None:
                arguments["Limit"] = limit
            answer = call(operation, f"table {handle.name!r}", action, **arguments)
            for item in answer["Items"]:
                yield _item(handle, item)
            if limit is not None:
                limit -= len(answer["Items"])
            if "LastEvaluatedKey" not in answer or limit == 0:
                return
            arguments["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


class Expression:
    """Condition and update of one write, in DynamoDB's language.

    Every name and value stands behind a placeholder, for names may be reserved words or have any character in them.
    """

    def __init__(self, handle: Table, condition: Condition) -> None:
        self._keys = (handle.key, handle.sort)
        self._names: dict[str, str] = {}
        self._values: dict[str, Written] = {}
        self._update = ""
        #: Whether it does something else the second time: it adds, or its condition does not hold any more.
        self.counts_once = bool(condition)
        self._conditions = [self._holds(name, wanted) for name, wanted in condition.items()]

    def change(
        self, changes: Mapping[str, object], add: Mapping[str, float], remove: Iterable[str], nulls: set[str] | None
    ) -> None:
        """What the update does. nulls: attributes to add to that are null, which the condition then requires, as it
        requires the others to be numbers; None requires nothing."""
        sets = [f"{self._name(name)} = {self._value(write(value))}" for name, value in changes.items()]
        self.counts_once = self.counts_once or bool(add)
        adds = []
        for attribute, amount in add.items():
            name, value = self._name(attribute), self._value(write(amount))
            if nulls and attribute in nulls:
                sets.append(f"{name} = {value}")
                self._conditions.append(self._is_null(name))
            else:
                adds.append(f"{name} {value}")
            if nulls is not None and attribute not in nulls:
                number = self._value({"S": "N"})
                self._conditions.append(f"(attribute_not_exists({name}) OR attribute_type({name}, {number}))")
        removes = [self._name(name) for name in remove]
        clauses = (("SET", sets), ("ADD", adds), ("REMOVE", removes))
        self._update = " ".join(f"{verb} {', '.join(parts)}" for verb, parts in clauses if parts)

    def arguments(self) -> dict[str, Any]:
        """What of it goes into the call."""
        found = {
            "ConditionExpression": " AND ".join(self._conditions),
            "UpdateExpression": self._update,
            "ExpressionAttributeNames": self._names,
            "ExpressionAttributeValues": self._values,
            # It says what is otherwise, without the permission to read.
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD" if self._conditions else "",
        }
        return {name: value for name, value in found.items() if value}

    def _holds(self, attribute: str, wanted: object) -> str:
        operator, value = wanted if isinstance(wanted, tuple) else ("=", wanted)
        value = to_json_value(value)
        name = self._name(attribute)
        if value is None:
            null = self._is_null(name)
            absent = f"(attribute_not_exists({name}) OR {null})"
            return absent if operator == "=" else f"(NOT {absent})"
        if operator in ("=", "!="):
            # An attribute that is absent is different from every value, to whatever version of DynamoDB.
            same = f"{name} = {self._operand(attribute, value)}"
            return same if operator == "=" else f"(NOT {same})"
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            # Nothing is less or more than it, which DynamoDB would refuse as an expression.
            return f"(attribute_exists({name}) AND attribute_not_exists({name}))"
        compared = f"{name} {operator} {self._operand(attribute, value)}"
        if attribute not in self._keys:
            return compared
        # Numbers in keys are text as well, and no text is less or more than a number.
        is_number = f"begins_with({name}, {self._value({'S': _NUMBER})})"
        return f"({compared} AND {'NOT ' if isinstance(value, str) else ''}{is_number})"

    def _operand(self, attribute: str, value: Any) -> str:
        is_key = attribute in self._keys and isinstance(value, str | int) and not isinstance(value, bool)
        return self._value(_key_value(value) if is_key else write(value))

    def _is_null(self, name: str) -> str:
        return f"attribute_type({name}, {self._value({'S': 'NULL'})})"

    def _name(self, attribute: str) -> str:
        for placeholder, name in self._names.items():
            if name == attribute:
                return placeholder
        placeholder = f"#n{len(self._names)}"
        self._names[placeholder] = attribute
        return placeholder

    def _value(self, written: Written) -> str:
        placeholder = f":v{len(self._values)}"
        self._values[placeholder] = written
        return placeholder


# ---- values


def write(value: Any) -> Written:
    """A JSON value as DynamoDB writes it. Raises ValueError for a number that it does not keep as it is."""
    if value is None:
        return {"NULL": True}
    if isinstance(value, bool):
        return {"BOOL": value}
    if isinstance(value, str):
        return {"S": value}
    if isinstance(value, int | float):
        return {"N": _number(value)}
    if isinstance(value, list | tuple):
        return {"L": [write(item) for item in value]}
    if isinstance(value, dict):
        return {"M": {name: write(item) for name, item in value.items()}}
    raise ValueError(f"{type(value).__name__} is no JSON value")


def read(written: Written) -> Any:
    """The JSON value of what DynamoDB wrote. Sets, which only others write, are lists, and binary values base64."""
    [(kind, value)] = written.items()
    if kind in ("S", "BOOL"):
        return value
    if kind == "N":
        return _parsed(value)
    if kind == "M":
        return {name: read(item) for name, item in value.items()}
    if kind == "L":
        return [read(item) for item in value]
    if kind == "NULL":
        return None
    if kind == "NS":
        return [_parsed(item) for item in value]
    return to_json_value(value)


def _number(value: float) -> str:
    text = repr(value)
    if isinstance(value, int):
        digits = text.lstrip("-").rstrip("0")
        fits = len(digits) <= _MAX_DIGITS and abs(value) < 10**126
    else:
        # Their digits always fit; what is smaller or larger than these does not.
        fits = value == 0 or 1e-130 <= abs(value) < 1e126
    if not fits:
        raise ValueError(f"DynamoDB keeps {_MAX_DIGITS} digits of numbers up to 1e126; write {text[:50]} as a str")
    return text


def _parsed(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _key(handle: Table, key: Key) -> dict[str, Written]:
    written = {handle.key: _key_value(key[0])}
    if handle.sort is not None:
        written[handle.sort] = _key_value(key[1])
    return written


def _key_value(value: object) -> Written:
    if isinstance(value, int):
        return {"S": _NUMBER + number_text(value)}
    if str(value).startswith(_NUMBER):
        raise ValueError(f"a key does not begin with the character NUL: {value!r}")
    return {"S": str(value)}


def _item(handle: Table, written: dict[str, Written]) -> Item:
    item = {name: read(value) for name, value in written.items()}
    for name in (handle.key, handle.sort):
        value = item.get(name) if name is not None else None
        if isinstance(value, str) and value.startswith(_NUMBER):
            item[name] = number_of(value[1:])  # type: ignore[index]  # it has a name, for it has a value
    return item


__all__ = ["ConditionFailed", "Refused", "TableVerbs", "read", "write"]
