package main

import (
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// sunk counts the bytes that the service read of flows that clients send. What a client has written
// may still be in some buffer, of a gateway without back-pressure all of it: so the service counts,
// in memory that it shares with the clients.
var sunk = new(atomic.Int64)

// shareCounter puts sunk into a file.
func shareCounter(path string) error {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	size := int(unsafe.Sizeof(*sunk))
	if err := file.Truncate(int64(size)); err != nil {
		return err
	}
	flags := syscall.PROT_READ | syscall.PROT_WRITE
	memory, err := syscall.Mmap(int(file.Fd()), 0, size, flags, syscall.MAP_SHARED)
	if err != nil {
		return err
	}
	sunk = (*atomic.Int64)(unsafe.Pointer(&memory[0]))
	return nil
}
