"""Good bytes -> what a damaged disk, a careless program or an attacker may have made of them; the same by seed."""

from __future__ import annotations

import re
from random import Random

# What headers and tables have broken on, here and elsewhere.
_NASTY = [
    *(b"0", b"-1", b"1", b"2", b"3", b"255", b"65535", b"-32768", b"2147483647", b"2147483648", b"4294967295"),
    *(b"9223372036854775807", b"1e9", b"1e15", b"1e20", b"1e308", b"1e309", b"-1e308", b"nan", b"inf", b"-inf"),
    *(b"1_0", b"0x10", b"1.5", b"1e-300", b"", b" ", b"\t", b"\0", b"\xff", b"\xc3\xa4", b"\xe2\x80\xae", b"\x1b[31m"),
    *(b"True", b"False", b"null", b"~", b"none", b"LOCAL", b"LIST", b"x%03d.raw", b"../x", b"/etc/passwd", b"..", b"."),
    *(
        b"C1",
        b"S2",
        b"L6",
        b"T13",
        b"C8",
        b"=1+1",
        b"<script>",
        b"{}",
        b"[]",
        b'"',
        b"'",
        b":",
        b":=",
        b"#",
        b"&a",
        b"*a",
    ),
    *(b"&a", b"*a", b"!!python/object:os.system", b"9" * 400, b"(" * 50, b"[" * 300, b"{" * 300),
]
_TOKEN = re.compile(rb"[A-Za-z_]+|[-+]?[0-9][0-9.eE+-]*|[^\sA-Za-z0-9]+")
_TEXT_BYTES = 4096


def mutate(good: bytes, random: Random) -> bytes:
    """Return good bytes with one to four changes."""
    data = bytearray(good)
    for _ in range(random.choice((1, 1, 1, 2, 2, 3, 4))):
        random.choice(_CHANGES)(data, random)
    return bytes(data)


def _place(data: bytearray, random: Random) -> int:
    """Choose a place, more often near the beginning: there the header is."""
    if not data:
        return 0
    return random.randrange(min(len(data), random.choice((64, 400, 1200, len(data)))))


def _flip_bit(data: bytearray, random: Random) -> None:
    if data:
        data[_place(data, random)] ^= 1 << random.randrange(8)


def _set_byte(data: bytearray, random: Random) -> None:
    if data:
        data[_place(data, random)] = random.choice((0, 1, 10, 13, 32, 127, 128, 254, 255, random.randrange(256)))


def _cut_end(data: bytearray, random: Random) -> None:
    del data[_place(data, random) if random.random() < 0.5 else max(len(data) - random.randrange(1, 40), 0) :]


def _cut_out(data: bytearray, random: Random) -> None:
    start = _place(data, random)
    del data[start : start + random.choice((1, 2, 4, 8, 60))]


def _put_in(data: bytearray, random: Random) -> None:
    start = _place(data, random)
    data[start:start] = random.choice((random.choice(_NASTY), bytes(random.randrange(1, 9)), random.randbytes(4)))


def _repeat(data: bytearray, random: Random) -> None:
    start = _place(data, random)
    part = bytes(data[start : start + random.choice((1, 8, 40))])
    data[start:start] = part * random.choice((1, 2, 50))


def _change_number(data: bytearray, random: Random) -> None:
    """Overwrite 2, 4 or 8 bytes with a number that is at some edge."""
    size = random.choice((2, 4, 8))
    start = _place(data, random)
    edges = (0, 1, 2**15, 2**15 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 0x7F800000, 0x7FC00000, 0x7F7FFFFF)
    value = random.choice(edges) % 2 ** (8 * size)
    data[start : start + size] = value.to_bytes(size, random.choice(("little", "big")))


def _change_token(data: bytearray, random: Random) -> None:
    tokens = list(_TOKEN.finditer(bytes(data[:_TEXT_BYTES])))
    if tokens:
        token = random.choice(tokens)
        data[token.start() : token.end()] = random.choice(_NASTY)


def _swap_tokens(data: bytearray, random: Random) -> None:
    tokens = list(_TOKEN.finditer(bytes(data[:_TEXT_BYTES])))
    if len(tokens) > 1:
        one, two = sorted(random.sample(tokens, 2), key=lambda token: token.start())
        data[two.start() : two.end()], data[one.start() : one.end()] = one[0], two[0]


def _change_lines(data: bytearray, random: Random) -> None:
    lines = bytes(data).split(b"\n")
    i = random.randrange(len(lines))
    kind = random.randrange(4)
    if kind == 0:
        del lines[i]
    elif kind == 1:
        lines.insert(i, lines[random.randrange(len(lines))])
    elif kind == 2:
        lines[i] = random.choice(_NASTY)
    else:
        lines.append(lines.pop(i))
    data[:] = random.choice((b"\n", b"\n", b"\n", b"\r\n", b"\r")).join(lines)


_CHANGES = (
    _flip_bit, _set_byte, _cut_end, _cut_out, _put_in, _repeat, _change_number, _change_token, _change_token,
    _swap_tokens, _change_lines,
)  # fmt: skip
