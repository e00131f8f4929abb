package main

import (
	"errors"
	"fmt"
	"io"
	"net"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// What a client's first byte on a connection asks of the service.
const (
	source  = 'S' // send without end
	paced   = 'P' // send without end, pacedRate bytes a second
	sink    = 'K' // read to the end
	both    = 'B' // the two at once
	echo    = 'E' // send back what comes
	request = 'R' // read a message, send one of the same size
)

// chunk is what is read or written at once: large, so that the load costs little.
const chunk = 256 << 10

// pacedRate is what every subject carries with ease, 500 Mbit/s: how long others wait beside it can be
// compared, whatever a subject could carry.
const pacedRate = 500_000_000 / 8

// message is the size of a request and of its answer.
const message = 1024

// serve answers on one port, TCP and UDP, until it is killed.
func serve(port int) error {
	packets, err := net.ListenUDP("udp4", &net.UDPAddr{Port: port})
	if err != nil {
		return err
	}
	if err := largeBuffers(packets); err != nil {
		return err
	}
	go echoPackets(packets)
	listener, err := net.ListenTCP("tcp4", &net.TCPAddr{Port: port})
	if err != nil {
		return err
	}
	fmt.Println("serving")
	for {
		conn, err := listener.AcceptTCP()
		if err != nil {
			return err
		}
		go serveConn(conn)
	}
}

func serveConn(conn *net.TCPConn) {
	defer conn.Close()
	var command [1]byte
	if _, err := io.ReadFull(conn, command[:]); err != nil {
		return
	}
	switch command[0] {
	case source:
		sendForever(conn)
	case paced:
		if pace(conn) == nil {
			sendForever(conn)
		}
	case sink:
		readForever(conn, sunk)
	case both:
		go sendForever(conn)
		readForever(conn, sunk)
	case echo:
		// Small: ten thousand of these may be open.
		buffer := make([]byte, 512)
		for {
			n, err := conn.Read(buffer)
			if err != nil {
				return
			}
			if _, err := conn.Write(buffer[:n]); err != nil {
				return
			}
		}
	case request:
		buffer := make([]byte, message)
		if _, err := io.ReadFull(conn, buffer[1:]); err != nil {
			return
		}
		if _, err := conn.Write(buffer); err != nil {
			return
		}
		// The client closes first, so that TIME-WAIT is its.
		conn.Read(buffer)
	}
}

// pace has the kernel's TCP keep to pacedRate.
func pace(conn *net.TCPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MAX_PACING_RATE, pacedRate)
	})
	return errors.Join(err, failed)
}

// echoPackets sends every datagram back, a batch per system call.
func echoPackets(conn *net.UDPConn) {
	const batch = 64
	packets := ipv4.NewPacketConn(conn)
	messages := make([]ipv4.Message, batch)
	for i := range messages {
		messages[i].Buffers = [][]byte{make([]byte, 2048)}
	}
	answers := make([]ipv4.Message, batch)
	for {
		n, err := packets.ReadBatch(messages, 0)
		if err != nil {
			return
		}
		for i, m := range messages[:n] {
			answers[i] = ipv4.Message{Buffers: [][]byte{m.Buffers[0][:m.N]}, Addr: m.Addr}
		}
		for sent := 0; sent < n; {
			count, err := packets.WriteBatch(answers[sent:n], 0)
			if err != nil {
				break // an ICMP error of an earlier client's port
			}
			sent += count
		}
	}
}
