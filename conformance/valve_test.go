package conformance_test

import (
	"net"
	"sync"
	"testing"
)

// valve relays datagrams between one client and a server, and can hold back
// what the server sends: a network whose way back is slow.
type valve struct {
	address net.Addr // of the server, as the client is to see it

	toClient net.PacketConn
	toServer net.Conn

	mu     sync.Mutex
	client net.Addr
	shut   bool
	held   [][]byte // at most maxHeld, as a network's queue
}

const maxHeld = 1000

// newValve returns an open valve in front of a server's UDP address.
func newValve(t *testing.T, server string) *valve {
	t.Helper()
	front, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	back, err := net.Dial("udp", server)
	if err != nil {
		t.Fatal(err)
	}
	v := &valve{address: front.LocalAddr(), toClient: front, toServer: back}
	var group sync.WaitGroup
	group.Go(v.forth)
	group.Go(v.back)
	t.Cleanup(func() {
		front.Close()
		back.Close()
		group.Wait()
	})
	return v
}

func (v *valve) forth() {
	buffer := make([]byte, 64<<10)
	for {
		n, from, err := v.toClient.ReadFrom(buffer)
		if err != nil {
			return
		}
		v.mu.Lock()
		v.client = from
		v.mu.Unlock()
		_, _ = v.toServer.Write(buffer[:n]) // what is lost is sent again
	}
}

func (v *valve) back() {
	buffer := make([]byte, 64<<10)
	for {
		n, err := v.toServer.Read(buffer)
		if err != nil {
			return
		}
		v.mu.Lock()
		client, shut := v.client, v.shut
		if shut && len(v.held) < maxHeld {
			v.held = append(v.held, append([]byte(nil), buffer[:n]...))
		}
		v.mu.Unlock()
		if !shut {
			_, _ = v.toClient.WriteTo(buffer[:n], client)
		}
	}
}

// close holds back what the server sends from now on.
func (v *valve) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.shut = true
}

// open lets go what was held back, and what comes after it.
func (v *valve) open() {
	v.mu.Lock()
	held, client := v.held, v.client
	v.held, v.shut = nil, false
	v.mu.Unlock()
	for _, datagram := range held {
		_, _ = v.toClient.WriteTo(datagram, client)
	}
}
