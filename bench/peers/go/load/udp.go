package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// tolerated is the share of datagrams that may be lost.
	tolerated = 0.001
	// trialLength is short: a search takes a dozen of them.
	trialLength = 400 * time.Millisecond
	// tooLate is when a datagram counts as lost, after the last was sent.
	tooLate = 500 * time.Millisecond
	// drained is what no datagram came back for: the gateway's queues are empty.
	drained = 100 * time.Millisecond
	// searchLength bounds the whole search.
	searchLength = 40 * time.Second
	// longTrials: the last is at 0.4 of the rate found, for queues may hold all of a short trial.
	longTrials = 20
)

// flood sends datagrams that the service returns, and counts those.
type flood struct {
	conn *net.UDPConn
	size int
	// trial marks the datagrams of the running trial, so that stragglers of the last are not its.
	trial    atomic.Uint32
	returned atomic.Int64
}

// udp searches the highest rate of round trips with less than tolerated lost, and then measures at
// that rate for o.length.
func udp(o options) error {
	conn, err := net.Dial("udp4", o.target)
	if err != nil {
		return err
	}
	f := &flood{conn: conn.(*net.UDPConn), size: o.size}
	if err := largeBuffers(f.conn); err != nil {
		return err
	}
	if err := receiveCoalesced(f.conn); err != nil {
		return err
	}
	go f.receive()
	// The session's first datagrams wait for a handshake and a socket.
	for attempt := 0; f.run(500, 200*time.Millisecond).returned == 0; attempt++ {
		if attempt == 20 {
			return fmt.Errorf("no datagram comes back")
		}
	}
	f.run(2000, o.warmup)
	deadline := time.Now().Add(searchLength)
	rate, note := search(func(rate float64) (bool, bool) {
		result := f.run(rate, trialLength)
		return result.loss() < tolerated, float64(result.sent) < 0.9*rate*trialLength.Seconds()
	}, time.Sleep, func() bool { return time.Now().Before(deadline) })
	if rate == 0 {
		return fmt.Errorf("loss at every rate")
	}
	// What holds for a moment may not hold for long; and what fails once may have been disturbed.
	for step := range longTrials {
		since := begin()
		result := f.run(rate, o.length)
		if result.loss() < tolerated {
			count := result.returned
			end(since, figures{
				Active: result.length.Seconds(),
				Count:  count, Bytes: 2 * count * int64(f.size), Note: note,
			})
			return nil
		}
		if step%2 == 1 {
			rate *= 0.9
		}
	}
	return fmt.Errorf("loss at %.0f per second for %v, not in short trials", rate/0.9, o.length)
}

type trial struct {
	sent, returned int64
	// From the first datagram to the last.
	length time.Duration
}

func (t trial) loss() float64 {
	return 1 - float64(t.returned)/float64(t.sent)
}

// run sends at a rate for a while.
func (f *flood) run(rate float64, length time.Duration) trial {
	number := f.trial.Add(1)
	f.returned.Store(0)
	// A burst every quarter of a millisecond, or single datagrams less often.
	burst := min(max(int(rate/4000), 1), 64, 60_000/f.size)
	buffer := make([]byte, burst*f.size)
	for i := range burst {
		binary.BigEndian.PutUint32(buffer[i*f.size:], number)
	}
	control := segmentSize(f.size)
	interval := time.Duration(float64(burst) / rate * float64(time.Second))
	sent := int64(0)
	since := time.Now()
	for due := since; due.Sub(since) < length; due = due.Add(interval) {
		if late := time.Since(due); late < 0 {
			sleep(-late)
		} else if late > 4*interval {
			// A sender that was held up does not catch up: that would be another rate.
			due = time.Now()
		}
		if _, _, err := f.conn.WriteMsgUDP(buffer, control, nil); err == nil {
			sent += int64(burst)
		}
	}
	took := time.Since(since)
	for end := time.Now(); f.returned.Load() < sent && time.Since(end) < tooLate; {
		time.Sleep(time.Millisecond)
	}
	result := trial{sent, f.returned.Load(), took}
	if result.returned < sent {
		f.drain()
	}
	return result
}

// drain waits until nothing more comes back, some time at most.
func (f *flood) drain() {
	for since := time.Now(); time.Since(since) < 10*time.Second; {
		last := f.returned.Load()
		time.Sleep(drained)
		if f.returned.Load() == last {
			return
		}
	}
}

func (f *flood) receive() {
	buffer := make([]byte, 1<<16)
	control := make([]byte, 64)
	for {
		n, controlled, _, _, err := f.conn.ReadMsgUDP(buffer, control)
		if err != nil {
			continue // an ICMP error of the gateway
		}
		if n < 4 || binary.BigEndian.Uint32(buffer) != f.trial.Load() {
			continue
		}
		segment := coalescedSize(control[:controlled])
		if segment == 0 {
			segment = n
		}
		f.returned.Add(int64((n + segment - 1) / segment))
	}
}

// segmentSize has the kernel cut a write into datagrams: one walk through its stack for all.
func segmentSize(size int) []byte {
	control := make([]byte, unix.CmsgSpace(2))
	header := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
	header.Level = unix.SOL_UDP
	header.Type = unix.UDP_SEGMENT
	header.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(control[unix.CmsgLen(0):], uint16(size))
	return control
}

// coalescedSize returns the size of the datagrams that a read joined; 0: it is one.
func coalescedSize(control []byte) int {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return 0
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_UDP && m.Header.Type == unix.UDP_GRO && len(m.Data) >= 4 {
			return int(binary.NativeEndian.Uint32(m.Data))
		}
	}
	return 0
}

func receiveCoalesced(conn *net.UDPConn) error {
	return setOption(conn, unix.SOL_UDP, unix.UDP_GRO, 1)
}

// largeBuffers keeps the sockets of the load from being what loses.
func largeBuffers(conn *net.UDPConn) error {
	if err := setOption(conn, syscall.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20); err != nil {
		return err
	}
	return setOption(conn, syscall.SOL_SOCKET, unix.SO_SNDBUFFORCE, 16<<20)
}

func setOption(conn *net.UDPConn, level, option, value int) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failure error
	err = raw.Control(func(fd uintptr) { failure = unix.SetsockoptInt(int(fd), level, option, value) })
	if err != nil {
		return err
	}
	return failure
}
