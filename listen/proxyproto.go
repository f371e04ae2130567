package listen

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Sizes of a PROXY protocol header. What follows the addresses are additions
// (TLVs) of some hundred bytes at most, which are skipped.
const (
	proxyFixed   = 16
	proxyLargest = 4 << 10 // of what follows the fixed part
)

const proxySignature = "\r\n\r\n\x00\r\nQUIT\n"

// Of a header whose peer is misconfigured, every connection is wrong.
const proxyWarnEvery = time.Minute

// proxied is what a connection begins with whose peer says for whom it is. It is
// read by whoever first reads or asks for the address, so that Accept does not
// wait.
type proxied struct {
	server *Server
	warned *atomic.Int64 // when it was, in nanoseconds

	once   sync.Once
	client atomic.Pointer[net.TCPAddr] // nil: the peer's own connection
	err    error
}

// Read reads what comes after the PROXY protocol's header.
func (c *tcpConn) Read(p []byte) (int, error) {
	if err := c.introduce(); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(p)
	if n > 0 && !c.heard.Load() {
		c.hear()
	}
	if err != nil {
		c.watch(err)
	}
	return n, err
}

// RemoteAddr returns the address of the client, whom the peer may speak for.
func (c *tcpConn) RemoteAddr() net.Addr {
	_ = c.introduce() // of whoever does not introduce a client the address is its own
	return c.known()
}

// known is RemoteAddr as far as that is known: it waits for nothing.
func (c *tcpConn) known() net.Addr {
	if c.proxied != nil {
		if client := c.proxied.client.Load(); client != nil {
			return client
		}
	}
	return c.Conn.RemoteAddr()
}

// introduce reads the header if there is to be one. A connection without is
// closed.
func (c *tcpConn) introduce() error {
	p := c.proxied
	if p == nil {
		return nil
	}
	p.once.Do(func() {
		if p.err = c.readProxied(); p.err != nil {
			_ = c.Close()
		}
	})
	return p.err
}

func (c *tcpConn) readProxied() error {
	p := c.proxied
	if d := p.server.cfg.Timeouts.Header; d > 0 {
		_ = c.SetReadDeadline(time.Now().Add(d))
	}
	client, err := readProxyHeader(c.Conn)
	c.watch(err)
	if errors.Is(err, io.EOF) {
		return err // load balancers try whether a port is open
	}
	if err != nil {
		err = fmt.Errorf("listen: PROXY protocol: %w", err)
		p.warn(c.Conn.RemoteAddr(), err)
		return err
	}
	if err = c.Conn.SetReadDeadline(c.deadline(time.Time{})); err != nil {
		return err
	}
	if !client.IsValid() {
		return nil
	}
	p.client.Store(net.TCPAddrFromAddrPort(client))
	return c.identify(client.Addr())
}

// warn logs, at most once a minute.
func (p *proxied) warn(peer net.Addr, err error) {
	now := time.Now()
	last := p.warned.Load()
	if last == 0 || now.Sub(time.Unix(0, last)) >= proxyWarnEvery {
		if p.warned.CompareAndSwap(last, now.UnixNano()) {
			p.server.cfg.Logger.Warn("connections are closed that do not begin as they should: have the peer send PROXY protocol v2,"+
				" or do not name it as one that does", "peer", peer.String(), "error", err)
		}
	}
}

// readProxyHeader reads the header of version 2 of the PROXY protocol (HAProxy,
// proxy-protocol.txt, section 2.2) and not a byte more. It returns the zero
// AddrPort when the client is the peer itself (LOCAL), or has no address on the
// internet. Its error is io.EOF when nothing came at all.
func readProxyHeader(r io.Reader) (netip.AddrPort, error) {
	var none netip.AddrPort
	fixed := make([]byte, proxyFixed)
	if n, err := io.ReadFull(r, fixed); err != nil {
		if n == 0 {
			return none, err
		}
		return none, fmt.Errorf("the header is cut short: %w", err)
	}
	if string(fixed[:len(proxySignature)]) != proxySignature {
		return none, errors.New("no header of version 2")
	}
	version, command, family, size := fixed[12]>>4, fixed[12]&0xf, fixed[13], int(binary.BigEndian.Uint16(fixed[14:]))
	if version != 2 {
		return none, fmt.Errorf("version %d, not 2", version)
	}
	if command > 1 {
		return none, fmt.Errorf("unknown command %d", command)
	}
	if size > proxyLargest {
		return none, fmt.Errorf("a header of %d bytes, of at most %d", size, proxyLargest)
	}
	rest := make([]byte, size)
	if _, err := io.ReadFull(r, rest); err != nil {
		return none, fmt.Errorf("the header is cut short: %w", unexpected(err))
	}
	if command == 0 {
		return none, nil
	}
	return proxySource(family, rest)
}

// proxySource returns the address of the client.
func proxySource(family byte, rest []byte) (netip.AddrPort, error) {
	var none netip.AddrPort
	var addresses, size int // of both ends; what one address has
	switch family {
	case 0x11: // TCP over IPv4
		addresses, size = 12, 4
	case 0x21: // TCP over IPv6
		addresses, size = 36, 16
	case 0x00, 0x12, 0x22, 0x31, 0x32: // unspecified, UDP, Unix sockets
		return none, nil
	default:
		return none, fmt.Errorf("unknown family and protocol %#x", family)
	}
	if len(rest) < addresses {
		return none, fmt.Errorf("%d bytes of addresses, not %d", len(rest), addresses)
	}
	ip, _ := netip.AddrFromSlice(rest[:size])
	return netip.AddrPortFrom(ip.Unmap(), binary.BigEndian.Uint16(rest[2*size:])), nil
}

// unexpected makes of an end one that came too soon.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
