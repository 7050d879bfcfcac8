"""Raw requests, as clients, proxies and attackers send them: the corpus of the grammar."""

from itertools import chain

_END = b"\r\n\r\n"
_NEXT = b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n"


def _line(line: bytes) -> bytes:
    return line + b"\r\nHost: x" + _END


def _headers(*headers: bytes) -> bytes:
    return b"\r\n".join([b"GET / HTTP/1.1", b"Host: x", *headers]) + _END


def _post(framing: bytes, body: bytes, version: bytes = b"1.1") -> bytes:
    return b"POST / HTTP/" + version + b"\r\nHost: x\r\n" + framing + _END + body


def _chunked(body: bytes) -> bytes:
    return _post(b"Transfer-Encoding: chunked", body) + _NEXT


_METHODS = [
    *(b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE", b"LIST", b"CONNECT"),
    *(b"PROPFIND", b"VERSION-CONTROL", b"M-SEARCH", b"get", b"Get", b"GE", b"G", b"", b"GET#", b"G#T"),
    *(b"GE\tT", b"A" * 20, b"A" * 21, b"GET{", b"G{}T", b"G(T", b'G"T', b"G:T", b"G\x00T", b"G\xc9T"),
    *(b"!$%", b"G'T", b"G|T", b"PRI", b"123", b"G/T", b"G=T", b"G@T", b"G\x7fT", b"G~T", b"G`T", b"G^T"),
    *(b"G+T", b"G,T", b"G;T"),
]

_TARGETS = [
    *(b"/", b"//", b"///", b"/a", b"/a/b", b"/a?b", b"/a?b=c&d=e", b"/?", b"/??", b"/a?b?c", b"/a;b"),
    *(b"/a:b", b"/%41", b"/%2F", b"/%2f..", b"/..", b"/../a", b"/./a", b"/%", b"/%4", b"/%zz", b"/%00"),
    *(b"/%0d%0a", b"/%C3%A9", b"/a#b", b"/#", b"/a?b#c", b"#", b"?", b"?a", b"a", b"a/b", b"", b"*"),
    *(b"*/", b"/*", b"x:80", b"[::1]:80", b"http://x/", b"http://x", b"http://x/a?b", b"http://x?b"),
    *(b"HTTP://X/a", b"http://X/a", b"https://x/a", b"http://y/a", b"http://x:80/a", b"http://u@x/a"),
    *(b"http:///a", b"http:/a", b"ftp://x/a", b"http://[x/a", b"//x/a", b"//[", b"/\x7f", b"/\x00"),
    *(b"/\t", b"/\xc3\xa9", b"/a b", b"/a\\b", b'/"', b"/<>", b"/{}", b"/|", b"/^`", b"/[a]", b"/@"),
    *(b"/=", b"/~", b"/" + b"a" * 4_000, b"/" + b"a" * 4_080, b"/" + b"a" * 4_081, b"/" + b"a" * 9_000),
]

_VERSIONS = [
    *(b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.2", b"HTTP/1.9", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/2"),
    *(b"HTTP/3.0", b"http/1.1", b"HTTP/1.1 ", b" HTTP/1.1", b"HTTP/1.1\t", b"HTTP/1.", b"HTTP/1"),
    *(b"HTTP/11", b"HTTP/1.10", b"HTTP/01.1", b"HTTP/9.9", b"HTTP/\xb2.1", b"HTTP/1,1", b"HTTPS/1.1"),
    *(b"HTTP 1.1", b"", b"x", b"HTTP/1.1x", b"HTTP/-1.1", b"HTTP/+1.1"),
]

_LINES = {
    "nothing": b"",
    "line ends only": b"\r\n\r\n",
    "one empty line first": b"\r\n" + _NEXT,
    "two empty lines first": b"\r\n\r\n" + _NEXT,
    "a line feed first": b"\n" + _NEXT,
    "a return first": b"\r" + _NEXT,
    "a space first": b" " + _NEXT,
    "line feeds only": _NEXT.replace(b"\r\n", b"\n"),
    "returns only": _NEXT.replace(b"\r\n", b"\r"),
    "a line feed after the request line": _NEXT.replace(b"\r\n", b"\n", 1),
    "a line feed after a header": b"GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n",
    "a line feed at the end": b"GET / HTTP/1.1\r\nHost: x\r\n\n",
    "a return within a header": b"GET / HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n",
    "a return within the request line": b"GET /\r HTTP/1.1\r\nHost: x\r\n\r\n",
    "two spaces": b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a tab": b"GET\t/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "no version": b"GET /\r\nHost: x\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "half a line": b"GET / HT",
    "a line without headers": b"GET / HTTP/1.1\r\n",
    "half a head": b"GET / HTTP/1.1\r\nHost: x\r\n",
    "half a header": b"GET / HTTP/1.1\r\nHos",
    "no headers": b"GET / HTTP/1.1\r\n\r\n",
    "no headers in HTTP/1.0": b"GET / HTTP/1.0\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "the PROXY protocol": b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + _NEXT,
    "CONNECT": b"CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n" + _NEXT,
    "CONNECT of a path": b"CONNECT / HTTP/1.1\r\nHost: x\r\n\r\n" + _NEXT,
    "OPTIONS *": b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n" + _NEXT,
    "a long incomplete line": b"GET /" + b"a" * 5_000,
    "an absolute target without a host": b"GET http://x/ HTTP/1.0\r\n\r\n",
}

_NAMES = [
    *(b"A", b"a-b", b"A_B", b"_", b"!#$%&'*+-.^`|~", b"1", b"", b" ", b"A ", b" A", b"A\t", b"A B"),
    *(b"A(", b"A\x00", b"A\x7f", b"\xe9", b"\xdf", b"A@", b"A/", b"A[", b"A=", b"A,", b'"A"'),
    *(b"SCRIPT_NAME", b"Script-Name", b"HTTP_HOST", b"Proxy", b"X-Forwarded-For", b"X_Forwarded_For"),
    *(b"X-Forwarded-Proto", b"Content_Length", b"Transfer_Encoding", b"Remote-Addr"),
]

_VALUES = [
    *(b"", b" ", b"b", b" b ", b"\tb\t", b"b  c", b"b\tc", b'"b"', b"b,c", b":", b"::", b"b: c", b"\xe9"),
    *(b"\xff", b"\x80", b"\x00", b"b\x00", b"\x01", b"\x08", b"\x0b", b"\x0c", b"\x1b", b"\x1f", b"\x7f"),
    *(b"b\x7fc", b"\x85", b"\xa0", b"\xa0b\xa0"),
]

_HEADERS = {
    "folding": _headers(b"A: b", b" c"),
    "folding by a tab": _headers(b"A: b", b"\tc"),
    "folding at once": b"GET / HTTP/1.1\r\n Host: x\r\n\r\n",
    "no colon": _headers(b"A"),
    "only a colon": _headers(b":"),
    "an empty name": _headers(b": b"),
    "the same header twice": _headers(b"A: b", b"a: c", b"A:"),
    "two cookies": _headers(b"Cookie: a=b", b"Cookie: c=d"),
    "two credentials": _headers(b"Authorization: a", b"Authorization: b"),
    "two content types": _headers(b"Content-Type: a", b"Content-Type: a"),
    "two hosts": _headers(b"Host: x"),
    "two hosts by case": _headers(b"hOST: y"),
    "100 headers": _headers(*[b"A: b"] * 99),
    "101 headers": _headers(*[b"A: b"] * 100),
    "many dropped headers": _headers(*[b"A_B: c"] * 100),
    "a header of 8190 bytes": _headers(b"A: " + b"b" * 8_185),
    "a header of 8191 bytes": _headers(b"A: " + b"b" * 8_186),
    "headers of 32 kB": _headers(*[b"A: " + b"b" * 8_000] * 4),
    "headers of 33 kB": _headers(*[b"A: " + b"b" * 8_000] * 4, b"B: " + b"b" * 1_000),
    "headers of 40 kB": _headers(*[b"A: " + b"b" * 8_000] * 5),
    "headers without an end": b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 10_000,
    "Expect": _headers(b"Expect: 100-continue"),
    "Expect by case": _headers(b"Expect: 100-Continue"),
    "Expect something else": _headers(b"Expect: 200-ok"),
    "Expect nothing": _headers(b"Expect:"),
    "Expect twice": _headers(b"Expect: 100-continue", b"Expect: 100-continue"),
    "Expect in HTTP/1.0": b"GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n",
    "Expect something else in HTTP/1.0": b"GET / HTTP/1.0\r\nExpect: x\r\n\r\n",
    "schemes that contradict": _headers(b"X-Forwarded-Proto: https", b"X-Forwarded-Ssl: off"),
    **{
        f"Connection: {value.decode()}": _headers(b"Connection: " + value) + _NEXT
        for value in (
            b"close",
            b"Close",
            b"keep-alive",
            b"upgrade",
            b"close, te",
            b"te, close",
            b"",
            b"keep-alive, close",
        )
    },
    "Connection twice": _headers(b"Connection: te", b"Connection: close") + _NEXT,
    "Connection: keep-alive in HTTP/1.0": b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + _NEXT,
    "no Connection in HTTP/1.0": b"GET / HTTP/1.0\r\n\r\n" + _NEXT,
    "Connection: te in HTTP/1.0": b"GET / HTTP/1.0\r\nConnection: te\r\n\r\n" + _NEXT,
    "Upgrade": _headers(b"Connection: Upgrade", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"),
    **{
        f"Host: {host.decode('latin-1')}": b"GET / HTTP/1.1\r\nHost:" + host + _END
        for host in (
            *(b"", b"x", b" x ", b"x:", b"x:80", b"x:x", b"x:80:80", b"x y", b"x/y", b"u@x", b"[::1]"),
            *(b"[::1]:80", b"[::1", b"::1", b"x,y", b"\xc3\xbc", b"x?y", b"x#y", b"x\\y", b"a_b"),
            *(b"x%41", b"[fe80::1%25e]"),
        )
    },
}

_LENGTHS = [
    *(b"0", b"2", b"3", b"02", b" 2 ", b"+2", b"-2", b"-0", b"2.0", b"0x2", b"2 2", b"2,2", b"2, 3", b""),
    *(b"x", b"\xb2", b"\xbc", b"2_0", b"1e1", b"2;", b"'2'", b"9" * 19, b"9" * 100, b"0" * 100 + b"2"),
    *(b"9" * 5_000, b"\xa02", b"1" + b"0" * 4_299),
]

_CODINGS = [
    *(b"chunked", b"Chunked", b" chunked ", b"chunked,", b",chunked", b"chunked, chunked", b"identity"),
    *(b"gzip", b"gzip, chunked", b"identity, chunked", b"chunked, identity", b"chunked, gzip"),
    *(b"deflate, gzip, chunked", b"compress,chunked", b"x", b"xchunked", b"chunkedx", b"chunked x"),
    *(b'"chunked"', b"chunked;q=1", b"x, chunked", b"", b"\x0bchunked", b"br, chunked"),
]

_EMPTY = b"0\r\n\r\n"

_FRAMING = {
    "two lengths": _post(b"Content-Length: 2\r\nContent-Length: 2", b"ab") + _NEXT,
    "two different lengths": _post(b"Content-Length: 2\r\nContent-Length: 3", b"abc"),
    "a length and chunks": _post(b"Content-Length: 2\r\nTransfer-Encoding: chunked", _EMPTY),
    "chunks and a length": _post(b"Transfer-Encoding: chunked\r\nContent-Length: 5", _EMPTY) + _NEXT,
    "a length and no coding": _post(b"Content-Length: 2\r\nTransfer-Encoding: identity", b"ab") + _NEXT,
    "a length and an unknown coding": _post(b"Content-Length: 2\r\nTransfer-Encoding: x", b"ab") + _NEXT,
    "two codings": _post(b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked", _EMPTY),
    "chunked twice": _post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", _EMPTY),
    "chunked and identity": _post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", _EMPTY),
    "chunks in HTTP/1.0": _post(b"Transfer-Encoding: chunked", _EMPTY, b"1.0"),
    "an unknown coding in HTTP/1.0": _post(b"Transfer-Encoding: x", _EMPTY, b"1.0"),
    "a length in HTTP/1.0": _post(b"Content-Length: 2", b"ab", b"1.0"),
    "a body without a length": _post(b"A: b", b"ab"),
    "a request as a body": _post(b"Content-Length: %d" % len(_NEXT), _NEXT) + _NEXT,
    "a short body": _post(b"Content-Length: 5", b"ab"),
    "a large body": _post(b"Content-Length: 100000", b"a" * 100_000) + _NEXT,
    "a body of GET": _headers(b"Content-Length: 2") + b"ab" + _NEXT,
    "pipelined": _NEXT * 5,
    "pipelined with an invalid one": _NEXT + b"GET\r\n\r\n" + _NEXT,
    "pipelined with an empty line between": _NEXT + b"\r\n" + _NEXT,
    "pipelined with two empty lines between": _NEXT + b"\r\n\r\n" + _NEXT,
    "pipelined after a body": _post(b"Content-Length: 2", b"ab") * 3,
    "a body and garbage": _post(b"Content-Length: 2", b"abX") + _NEXT,
}

_SIZES = [
    *(b"2", b"02", b"002", b"2 ", b" 2", b"2\t", b"+2", b"-2", b"0x2", b"2h", b"g", b"", b"2.", b"2_"),
    *(b"\xb2", b"2\x00", b"2\r", b"2;a", b"2;a=b", b'2;a="b"', b'2;a="b\\"c"', b'2;a="', b"2;", b"2;;"),
    *(b"2;=", b"2;a=", b"2; a = b", b"2 ;a", b"2;a;b=c", b"2;a b", b"2;\x00", b"2;a=b\x7f", b"2;a\xe9"),
    *(b'2;a="\xe9"', b"2;a\r", b'2;a="b\r"', b"2,a", b"2:a", b"0" * 16 + b"2", b"0" * 15 + b"2"),
    *(b"ffffffffffffffff", b"f" * 17, b"7" * 200, b"2;a=" + b"b" * 8_000, b"2;a=" + b"b" * 9_000),
]

_CHUNKS = {
    "chunks": b"2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n",
    "sizes in both cases": b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
    "no chunks": _EMPTY,
    "a last chunk of many zeros": b"000\r\n\r\n",
    "no last chunk": b"2\r\nab\r\n",
    "no end of the trailers": b"2\r\nab\r\n0\r\n",
    "half an end of the trailers": b"2\r\nab\r\n0\r\n\r",
    "a trailer": b"0\r\nA: b\r\n\r\n",
    "two trailers": b"0\r\nA: b\r\nC: d\r\n\r\n",
    "an invalid trailer": b"0\r\nA\r\n\r\n",
    "a folded trailer": b"0\r\nA: b\r\n c\r\n\r\n",
    "a trailer with an underscore": b"0\r\nA_B: c\r\n\r\n",
    **{
        f"the trailer {name.decode()}": b"0\r\n" + name + b": 0\r\n\r\n"
        for name in (
            b"Host",
            b"Content-Length",
            b"transfer-encoding",
            b"Trailer",
            b"Authorization",
            b"TE",
            b"Expect",
        )
    },
    "a line feed after a trailer": b"0\r\nA: b\n\r\n\r\n",
    "100 trailers": b"0\r\n" + b"A: b\r\n" * 100 + b"\r\n",
    "101 trailers": b"0\r\n" + b"A: b\r\n" * 101 + b"\r\n",
    "a large trailer": b"0\r\nA: " + b"b" * 9_000 + b"\r\n\r\n",
    "trailers of 40 kB": b"0\r\n" + (b"A: " + b"b" * 8_000 + b"\r\n") * 5 + b"\r\n",
    "trailers without an end": b"0\r\n" + (b"A: " + b"b" * 8_000 + b"\r\n") * 9,
    "a chunk that is too long": b"2\r\nabX\r\n0\r\n\r\n",
    "a chunk that is too short": b"3\r\nab\r\n0\r\n\r\n",
    "a line feed after the size": b"2\nab\r\n0\r\n\r\n",
    "a line feed after the chunk": b"2\r\nab\n0\r\n\r\n",
    "a return after the chunk": b"2\r\nab\r0\r\n\r\n",
    "nothing after the chunk": b"2\r\nab0\r\n\r\n",
    "a line feed after the last chunk": b"2\r\nab\r\n0\n\r\n",
    "two ends after the chunk": b"2\r\nab\r\n\r\n0\r\n\r\n",
    "a large chunk": b"186a0\r\n" + b"a" * 100_000 + b"\r\n0\r\n\r\n",
    "small chunks": b"1\r\na\r\n" * 500 + _EMPTY,
    "a long line without an end": b"2;" + b"a" * 9_000,
    "garbage": b"zz\r\n",
}

#: All raw requests by names; many are followed by a second, valid request.
CORPUS: dict[str, bytes] = dict(
    chain(
        ((f"method {method!r}", _line(method + b" / HTTP/1.1")) for method in _METHODS),
        (
            (f"target {target[:60]!r} {len(target)}", _line(b"GET " + target + b" HTTP/1.1"))
            for target in _TARGETS
        ),
        ((f"version {version!r}", _line(b"GET / " + version)) for version in _VERSIONS),
        _LINES.items(),
        ((f"name {name!r}", _headers(name + b": 1")) for name in _NAMES),
        ((f"value {value!r}", _headers(b"A:" + value)) for value in _VALUES),
        _HEADERS.items(),
        (
            (f"length {length[:20]!r} {len(length)}", _post(b"Content-Length:" + length, b"ab") + _NEXT)
            for length in _LENGTHS
        ),
        (
            (f"coding {coding!r}", _post(b"Transfer-Encoding:" + coding, _EMPTY) + _NEXT)
            for coding in _CODINGS
        ),
        _FRAMING.items(),
        ((f"size {size[:40]!r} {len(size)}", _chunked(size + b"\r\nab\r\n0\r\n\r\n")) for size in _SIZES),
        ((f"chunked: {name}", _chunked(body)) for name, body in _CHUNKS.items()),
    )
)
