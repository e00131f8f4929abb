package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// patience is how long a message may take before the gateway is given up.
const patience = 10 * time.Second

// rtt sends 64 bytes back and forth, one message at a time.
func rtt(o options) error {
	var read atomic.Int64
	failed := make(chan error, 1)
	if o.loaded {
		if err := flow(o.target, o.direction, &read, failed); err != nil {
			return err
		}
	}
	conn, err := open(o.target, echo)
	if err != nil {
		return err
	}
	if err := conn.SetDeadline(time.Now().Add(o.warmup + o.length + patience)); err != nil {
		return err
	}
	buffer := make([]byte, 64)
	// The service echoes what follows the command. A number tells an answer from one that came twice.
	number := uint64(0)
	round := func() error {
		number++
		binary.BigEndian.PutUint64(buffer, number)
		if _, err := conn.Write(buffer); err != nil {
			return err
		}
		if _, err := io.ReadFull(conn, buffer); err != nil {
			return err
		}
		if answer := binary.BigEndian.Uint64(buffer); answer != number {
			return fmt.Errorf("sent message %d, got %d: the stream is damaged", number, answer)
		}
		return nil
	}
	for until := time.Now().Add(o.warmup); time.Now().Before(until); {
		if err := round(); err != nil {
			return err
		}
	}
	before := read.Load() + sunk.Load()
	since := begin()
	samples := make([]time.Duration, 0, 1<<18)
	for last := since; last.Sub(since) < o.length; {
		if err := round(); err != nil {
			return err
		}
		now := time.Now()
		samples = append(samples, now.Sub(last))
		last = now
	}
	bytes := read.Load() + sunk.Load() - before
	select {
	case err := <-failed:
		return err
	default:
	}
	p50, p99 := percentiles(samples)
	end(since, figures{Count: int64(len(samples)), Bytes: bytes, P50: p50, P99: p99})
	return nil
}
