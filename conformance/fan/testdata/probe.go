// ci/fan builds this file into cmd/fairlead, so that the server that is measured
// is the program and can still be asked what only it knows. It answers each line
// of standard input with a line on descriptor 3, and ends the program with it.
package main

import (
	"bufio"
	"encoding/json"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"
	"unsafe"
)

func init() {
	if os.Getenv("FAN_PROBE") != "" {
		go probe()
	}
}

func probe() {
	out := json.NewEncoder(os.NewFile(3, "replies"))
	orders := bufio.NewScanner(os.Stdin)
	for orders.Scan() {
		var order struct {
			Do    string `json:"do"`
			File  string `json:"file"`
			Ports []int  `json:"ports"`
		}
		if json.Unmarshal(orders.Bytes(), &order) != nil {
			break
		}
		switch order.Do {
		case "memory":
			out.Encode(memory())
		case "profile":
			out.Encode(map[string]any{"error": profile(order.File)})
		case "unsent":
			out.Encode(map[string]any{"unsent": unsent(order.Ports)})
		default:
			os.Exit(3)
		}
	}
	os.Exit(0)
}

// profile begins to write a CPU profile to the file; "" ends it.
func profile(file string) string {
	if file == "" {
		pprof.StopCPUProfile()
		return ""
	}
	f, err := os.Create(file)
	if err == nil {
		err = pprof.StartCPUProfile(f)
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// memory is what the program holds after a collection that has given back what
// it could: all of it, and what the runtime says of it.
func memory() map[string]int64 {
	for range 3 { // finalizers and pools take two
		runtime.GC()
	}
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return map[string]int64{
		"rss": rss(), "heap": int64(m.HeapInuse), "stacks": int64(m.StackInuse), "goroutines": int64(runtime.NumGoroutine()),
	}
}

// rss is VmRSS, in bytes.
func rss() int64 {
	text, _ := os.ReadFile("/proc/self/status")
	_, after, _ := strings.Cut(string(text), "VmRSS:")
	line, _, _ := strings.Cut(after, "kB")
	n, _ := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
	return n << 10
}

// unsent is the largest number of bytes that the kernel has and has not sent
// (SIOCOUTQNSD) on connections to one of the ports; -1 if there is none.
func unsent(ports []int) int {
	const siocoutqnsd = 0x894B
	most := -1
	for fd := 4; fd < 20_000; fd++ {
		peer, err := syscall.Getpeername(fd)
		if err != nil {
			continue
		}
		port := 0
		switch at := peer.(type) {
		case *syscall.SockaddrInet4:
			port = at.Port
		case *syscall.SockaddrInet6:
			port = at.Port
		}
		for _, p := range ports {
			var n int32
			if p != port {
				continue
			}
			if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), siocoutqnsd, uintptr(unsafe.Pointer(&n))); errno == 0 {
				most = max(most, int(n))
			}
		}
	}
	return most
}
