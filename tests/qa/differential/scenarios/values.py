"""Scenarios of the values of a secret."""

from typing import Any

from tests.qa.differential.scenarios.calls import NOTHING, Scenario, get, post, put, read

#: Bodies of a write whose JSON is not what a write needs.
_BODIES: tuple[Any, ...] = (
    NOTHING,
    b"",
    {},
    None,
    {"data": None},
    {"data": []},
    {"data": [1]},
    {"data": "x"},
    {"data": 5},
    {"data": True},
    {"data": {}},
    {"k": "v"},
    {"Data": {"k": "v"}},
    {"data": {"k": "v"}, "unknown": 2},
    [],
    b"x",
    b"{",
    b'{"data":{"a":1}} trailing',
    b'{"data":{"a":1}}{"data":{"a":2}}',
    b"\xff\xfe",
    b'\xef\xbb\xbf{"data":{"a":1}}',
    b'{"data":{"a":NaN}}',
    b'{"data":{"a":1,"a":2}}',
    b'{"data":{"a":1},"data":{"b":2}}',
    b' {"data": {"a": 1}}\n',
    b'{"data":{"a":"\xff"}}',
    b'{"data":{"a":"\\ud800"}}',
    b'{"data":{"a":01}}',
    b'{"data":{"a":1e400}}',
    b'{"data":{"a":"\x01"}}',
    b'{"data":{"a":' + b"[" * 20_000 + b"]" * 20_000 + b"}}",
)


_NUMBERS = (
    *(
        "0",
        "-0",
        "-0.0",
        "1.10",
        "1E5",
        "1e2",
        "1e20",
        "1e21",
        "1e-6",
        "1e-7",
        "5e-324",
        "1e-400",
        "123456789.5",
    ),
    *(
        "9007199254740991",
        "9007199254740993",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551616",
    ),
    *(
        "123456789012345678901234567890.1234567890",
        "0.1",
        "0.30000000000000004",
        "1.7976931348623157e308",
        "-1.5e-9",
    ),
)


_VALUES = (
    '{"b":true,"a":null,"c":{"z":1,"y":[1,"2",{"x":null}]},"B":false,"1":[],"e":{}}',
    '{"\u00fc\u20ac":"\u65e5\u672c\u8a9e\U0001f600","\\u0000k":"a\\u0000b<>&\u2028\u2029\\u007f"}',
    '{"b":"\\ud83d\\ude00","c":"x/y \\/ \\u00e9 \\" \\\\ \\n\\t\\b\\f\\r"}',
    '{"":"empty key","a.b":1,"a b":2,"$set":3,"_id":4}',
    '{"\U0001f600":1,"\uffff":2,"a":3,"\u00e9":4}',
    '{"a":' + "[" * 200 + "]" * 200 + "}",
    '{"a":' + '{"a":' * 50 + "1" + "}" * 50 + "}",
    # 64 KB with its braces and its key.
    '{"big":"' + "x" * (65_536 - 10) + '"}',
)


VALUES = (
    Scenario(
        "bodies",
        "What is not a write is refused with the real server's words and changes nothing.",
        tuple(
            call
            for number, body in enumerate(_BODIES)
            for call in (post(f"secret/data/~/{number}", body), read(str(number)))
        ),
    ),
    Scenario(
        "numbers",
        "Numbers come back as the real server writes them, also those beyond 2^53.",
        (
            post(
                "secret/data/~/a",
                f'{{"data":{{"n":[{",".join(_NUMBERS)}]}}}}'.encode(),
            ),
            read("a"),
        ),
        exact=True,
    ),
    Scenario(
        "values",
        "Nested JSON, unicode and 64 KB come back byte for byte as from the real server.",
        tuple(
            call
            for number, value in enumerate(_VALUES)
            for call in (post(f"secret/data/~/{number}", f'{{"data":{value}}}'.encode()), read(str(number)))
        ),
        exact=True,
    ),
    Scenario(
        "content types",
        "The content type of a write does not matter, and PUT is POST.",
        (
            *(
                post("secret/data/~/a", b'{"data":{"k":1}}', headers={"Content-Type": text})
                for text in (
                    *(
                        "application/json",
                        "text/plain",
                        "application/x-www-form-urlencoded",
                        "multipart/form-data",
                    ),
                    *("", "application/json; charset=utf-16", "application/xml", "x;;"),
                )
            ),
            post("secret/data/~/a", b"k=v", headers={"Content-Type": "application/x-www-form-urlencoded"}),
            post("secret/data/~/a", b"\x1f\x8b", headers={"Content-Encoding": "gzip"}),
            put("secret/data/~/a", {"data": {"k": 2}}),
            get("secret/data/~/a", headers={"Accept": "text/html"}),
            post("secret/data/~/a?version=1&unknown=1", {"data": {"k": 3}}),
            post("secret/data/~/none?data=x"),
        ),
    ),
)
