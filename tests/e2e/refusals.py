"""Asks each target once, `udp ADDRESS PORT`, `tcp ADDRESS PORT` or `ping ADDRESS` for each argument, and
says by which error the system has it refused, and after how many ms: JSON, `{WHAT: [ERROR, MS]}`.

Sockets are connected, so that the system tells them of ICMP errors.
"""
import errno, json, socket, struct, sys, time

# An echo request of each family; the system has the identifier and the checksum.
PING = {socket.AF_INET: (socket.IPPROTO_ICMP, 8), socket.AF_INET6: (socket.IPPROTO_ICMPV6, 128)}

def ask(what):
    kind, address, *port = what.split()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    protocol, request = PING[family]
    if kind == "tcp":
        asking = socket.socket(family, socket.SOCK_STREAM)
    else:
        asking = socket.socket(family, socket.SOCK_DGRAM, protocol if kind == "ping" else 0)
    asking.settimeout(30)
    start = time.monotonic()
    try:
        asking.connect((address, int(port[0]) if port else 0))
        asking.send(struct.pack("!BBHHH", request, 0, 0, 0, 1) if kind == "ping" else b"x")
        asking.recv(64)
        error = "none"
    except TimeoutError:
        error = "silence"
    except OSError as failure:
        error = errno.errorcode[failure.errno]
    return [error, 1000 * (time.monotonic() - start)]

print(json.dumps({what: ask(what) for what in sys.argv[1:]}))
