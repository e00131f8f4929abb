package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
)

// pingHeader is what a ping has before its payload.
const pingHeader = 8

// pinger has one identifier, as one program has.
type pinger struct {
	conn *icmp.PacketConn
	id   int
	lock sync.Mutex
	// sent is when each sequence number was, until it is answered.
	sent    [1 << 16]time.Time
	answers []time.Duration
}

// ping sends o.rate pings a second, each as far from the next as from the one before.
func ping(o options) error {
	host, _, err := net.SplitHostPort(o.target)
	if err != nil {
		return err
	}
	conn, err := icmp.ListenPacket("ip4:icmp", "0.0.0.0")
	if err != nil {
		return err
	}
	p := &pinger{conn: conn, id: os.Getpid() & 0xffff}
	go p.receive()
	to := &net.IPAddr{IP: net.ParseIP(host)}
	payload := make([]byte, o.size)
	sequence := 0
	// run returns how many were sent, and in which time.
	run := func(length time.Duration) (int, time.Duration, error) {
		interval := time.Duration(float64(time.Second) / o.rate)
		count, since := 0, time.Now()
		for due := since; due.Sub(since) < length; due = due.Add(interval) {
			if late := time.Since(due); late < 0 {
				sleep(-late)
			}
			sequence = (sequence + 1) & 0xffff
			message := icmp.Message{
				Type: ipv4.ICMPTypeEcho,
				Body: &icmp.Echo{ID: p.id, Seq: sequence, Data: payload},
			}
			bytes, err := message.Marshal(nil)
			if err != nil {
				return 0, 0, err
			}
			p.lock.Lock()
			p.sent[sequence] = time.Now()
			p.lock.Unlock()
			if _, err := conn.WriteTo(bytes, to); err != nil {
				return 0, 0, err
			}
			count++
		}
		return count, time.Since(since), nil
	}
	if _, _, err := run(o.warmup); err != nil {
		return err
	}
	p.take()
	since := begin()
	count, length, err := run(o.length)
	if err != nil {
		return err
	}
	answers := p.take()
	if len(answers) == 0 {
		return fmt.Errorf("no ping is answered")
	}
	note := ""
	if len(answers) < count*999/1000 {
		note = fmt.Sprintf("%d of %d answered", len(answers), count)
	}
	p50, p99 := percentiles(answers)
	end(since, figures{
		Active: length.Seconds(), Count: int64(len(answers)),
		Bytes: 2 * int64(len(answers)*(o.size+pingHeader)), P50: p50, P99: p99, Note: note,
	})
	return nil
}

// take returns the round trips since the last call.
func (p *pinger) take() []time.Duration {
	p.lock.Lock()
	defer p.lock.Unlock()
	answers := p.answers
	p.answers = nil
	return answers
}

func (p *pinger) receive() {
	buffer := make([]byte, 1<<16)
	for {
		n, _, err := p.conn.ReadFrom(buffer)
		if err != nil {
			continue
		}
		isAnswer := n >= pingHeader && buffer[0] == byte(ipv4.ICMPTypeEchoReply) &&
			int(binary.BigEndian.Uint16(buffer[4:])) == p.id
		if !isAnswer {
			continue
		}
		sequence := binary.BigEndian.Uint16(buffer[6:])
		p.lock.Lock()
		if at := p.sent[sequence]; !at.IsZero() {
			p.answers = append(p.answers, time.Since(at))
			p.sent[sequence] = time.Time{}
		}
		p.lock.Unlock()
	}
}
