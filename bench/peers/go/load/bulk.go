package main

import (
	"fmt"
	"net"
	"sync/atomic"
	"time"
)

// bulk counts what its connections carry, at their far ends.
func bulk(o options) error {
	var read atomic.Int64
	failed := make(chan error, 1)
	for range o.connections {
		if err := flow(o.target, o.direction, &read, failed); err != nil {
			return err
		}
	}
	if err := wait(o.warmup, failed); err != nil {
		return err
	}
	moved := func() int64 { return read.Load() + sunk.Load() }
	before := moved()
	since := begin()
	if err := wait(o.length, failed); err != nil {
		return err
	}
	bytes := moved() - before
	if bytes == 0 {
		return fmt.Errorf("nothing moved in %v", o.length)
	}
	end(since, figures{Bytes: bytes})
	return nil
}

// flow opens a connection and moves data over it for as long as the process lives.
func flow(target, direction string, read *atomic.Int64, failed chan<- error) error {
	commands := map[string]byte{"down": source, "up": sink, "both": both, "paced": paced}
	command, known := commands[direction]
	if !known {
		return fmt.Errorf("no such direction: %s", direction)
	}
	conn, err := open(target, command)
	if err != nil {
		return err
	}
	move := func(forever func() error) {
		err := forever()
		select {
		case failed <- err:
		default:
		}
	}
	if command != sink {
		go move(func() error { return readForever(conn, read) })
	}
	if command != source && command != paced {
		go move(func() error { return sendForever(conn) })
	}
	return nil
}

// wait sleeps, unless a connection fails before.
func wait(length time.Duration, failed <-chan error) error {
	select {
	case err := <-failed:
		return fmt.Errorf("a connection ended: %w", err)
	case <-time.After(length):
		return nil
	}
}

// open connects to the service and says what is wanted.
func open(target string, command byte) (*net.TCPConn, error) {
	conn, err := net.DialTimeout("tcp4", target, 10*time.Second)
	if err != nil {
		return nil, err
	}
	_, err = conn.Write([]byte{command})
	return conn.(*net.TCPConn), err
}

func readForever(conn *net.TCPConn, count *atomic.Int64) error {
	buffer := make([]byte, chunk)
	for {
		n, err := conn.Read(buffer)
		count.Add(int64(n))
		if err != nil {
			return err
		}
	}
}

func sendForever(conn *net.TCPConn) error {
	buffer := make([]byte, chunk)
	for {
		if _, err := conn.Write(buffer); err != nil {
			return err
		}
	}
}
