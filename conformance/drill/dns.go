package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/net/dns/dnsmessage"
)

// zone is a DNS server for one name, whose addresses can be changed.
type zone struct {
	conn net.PacketConn
	work sync.WaitGroup

	mu        sync.Mutex
	addresses []net.IP
}

// upstreamName is the name of the upstream.
const upstreamName = "api.drill.test"

// The DNS server, and the addresses of the name before and after. The port is the
// backend's.
var (
	nameserver  = fmt.Sprintf("127.53.%d.1", own())
	addressFrom = fmt.Sprintf("127.53.%d.11", own())
	addressTo   = fmt.Sprintf("127.53.%d.12", own())
)

// named puts a name with an address in the place of the upstream's address. The
// program gets a /etc/resolv.conf of its own, in a mount namespace.
func named(_ context.Context, s *site) error {
	if os.Geteuid() != 0 {
		return errRoot
	}
	s.backends[0].close()
	b, err := newBackend(addressFrom+":0", false)
	if err != nil {
		return err
	}
	s.backends[0] = b
	_, port, err := net.SplitHostPort(b.listener.Addr().String())
	if err != nil {
		return err
	}
	s.endpoints = []string{"dns+http://" + upstreamName + ":" + port}
	s.zone = &zone{addresses: []net.IP{net.ParseIP(addressFrom)}}
	if s.zone.conn, err = net.ListenPacket("udp", nameserver+":53"); err != nil { //nolint:noctx // at once
		return err
	}
	s.zone.work.Go(s.zone.serve)
	s.ends = append(s.ends, s.zone.close)
	resolv := filepath.Join(s.dir, "resolv.conf")
	if err := os.WriteFile(resolv, []byte("nameserver "+nameserver+"\n"), 0o644); err != nil { //nolint:gosec // it is no secret
		return err
	}
	script := fmt.Sprintf("mount --bind %s /etc/resolv.conf && exec \"$@\"", resolv)
	s.command = slices.Concat([]string{"unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"}, s.command)
	return nil
}

// move gives the name another address, and ends what was at the old one.
func move(_ context.Context, s *site) error {
	_, port, err := net.SplitHostPort(s.backends[0].listener.Addr().String())
	if err != nil {
		return err
	}
	b, err := newBackend(net.JoinHostPort(addressTo, port), false)
	if err != nil {
		return err
	}
	s.backends = append(s.backends, b)
	s.zone.mu.Lock()
	s.zone.addresses = []net.IP{net.ParseIP(addressTo)}
	s.zone.mu.Unlock()
	s.backends[0].close()
	return nil
}

func (z *zone) close() {
	_ = z.conn.Close()
	z.work.Wait()
}

func (z *zone) serve() {
	for b := make([]byte, 1500); ; {
		n, from, err := z.conn.ReadFrom(b)
		if err != nil {
			return
		}
		if answer, err := z.answer(b[:n]); err == nil { // what is no question gets none
			_, _ = z.conn.WriteTo(answer, from)
		}
	}
}

func (z *zone) answer(query []byte) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil {
		return nil, err
	}
	if len(m.Questions) != 1 {
		return nil, fmt.Errorf("%d questions", len(m.Questions))
	}
	q := m.Questions[0]
	m.Response, m.Authoritative, m.RecursionAvailable, m.Additionals = true, true, true, nil
	if strings.TrimSuffix(q.Name.String(), ".") != upstreamName {
		m.RCode = dnsmessage.RCodeNameError
		return m.Pack()
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	for _, ip := range z.addresses {
		if q.Type == dnsmessage.TypeA {
			m.Answers = append(m.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1},
				Body:   &dnsmessage.AResource{A: [4]byte(ip.To4())},
			})
		}
	}
	return m.Pack()
}
