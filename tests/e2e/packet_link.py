"""What docs/packet-links.md shows: packets on standard input and output, a length in front of each.

    socat TUN:10.0.0.8/24,iff-no-pi,iff-up 'EXEC:"python3 packet_link.py PLACE",socktype=2'
"""
import os, socket, struct, sys, threading

transport, _, where = sys.argv[1].partition(":")
if transport == "unix":
    link = socket.socket(socket.AF_UNIX)
    link.connect(where)
else:
    host, port = where.rsplit(":", 1)
    link = socket.create_connection((host, int(port)))

def receive():
    stream = link.makefile("rb")
    while header := stream.read(2):
        os.write(1, stream.read(struct.unpack("!H", header)[0]))
    os._exit(0)

threading.Thread(target=receive, daemon=True).start()
while packet := os.read(0, 65535):
    link.sendall(struct.pack("!H", len(packet)) + packet)
