package main

import (
	"syscall"
	"time"

	"golang.org/x/crypto/chacha20poly1305"
)

// aead seals o.size bytes in place, over and over. Its CPU time is told as the interval.
func aead(o options) error {
	sealer, err := chacha20poly1305.New(make([]byte, chacha20poly1305.KeySize))
	if err != nil {
		return err
	}
	nonce := make([]byte, chacha20poly1305.NonceSize)
	buffer := make([]byte, o.size, o.size+chacha20poly1305.Overhead)
	var count int64
	before := cpuTime()
	for since := time.Now(); time.Since(since) < o.length; {
		for range 1000 {
			sealer.Seal(buffer[:0], nonce, buffer, nil)
		}
		count += 1000
	}
	print(figures{
		Mark: "end", Seconds: (cpuTime() - before).Seconds(),
		Count: count, Bytes: count * int64(o.size),
	})
	return nil
}

func cpuTime() time.Duration {
	var usage syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
