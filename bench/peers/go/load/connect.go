package main

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// timer is less than the least that a retransmission waits for, Linux' and the gateways': a transaction
// that took so long may have waited for one.
const timer = 190 * time.Millisecond

// connect does transactions, o.connections at once: connect, a message each way, close.
func connect(o options) error {
	var measuring, stopping atomic.Bool
	var mutex sync.Mutex
	var samples []time.Duration
	failed := make(chan error, o.connections)
	for range o.connections {
		go func() {
			own := make([]time.Duration, 0, 1<<16)
			for !stopping.Load() {
				counts := measuring.Load()
				since := time.Now()
				if err := transaction(o.target); err != nil {
					failed <- err
					return
				}
				if counts {
					own = append(own, time.Since(since))
				}
			}
			mutex.Lock()
			samples = append(samples, own...)
			mutex.Unlock()
			failed <- nil
		}()
	}
	if err := wait(o.warmup, failed); err != nil {
		return err
	}
	since := begin()
	measuring.Store(true)
	if err := wait(o.length, failed); err != nil {
		return err
	}
	// Those under way are waited for, and count: the interval ends with the last of them.
	stopping.Store(true)
	for range o.connections {
		if err := <-failed; err != nil {
			return err
		}
	}
	p50, p99 := percentiles(samples)
	count := int64(len(samples))
	waited := 0
	var longest time.Duration
	for _, sample := range samples {
		if sample >= timer {
			waited++
		}
		longest = max(longest, sample)
	}
	note := ""
	if waited > 0 {
		note = fmt.Sprintf("%d of %d took %v or more, the longest %v", waited, count, timer, longest.Round(time.Millisecond))
	}
	end(since, figures{Count: count, Bytes: 2 * message * count, P50: p50, P99: p99, Note: note})
	return nil
}

func transaction(target string) error {
	conn, err := open(target, request)
	if err != nil {
		return err
	}
	defer conn.Close()
	buffer := make([]byte, message)
	if _, err := conn.Write(buffer[1:]); err != nil {
		return err
	}
	if _, err := io.ReadFull(conn, buffer); err != nil {
		return fmt.Errorf("no answer: %w", err)
	}
	return nil
}
