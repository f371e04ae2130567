package listen

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/quic-go/quic-go"
)

// A UDP socket that two processes share gives each datagram to one of them only,
// whosever connection it is of. So while one process takes over from another,
// the newer one reads the socket alone, and passes what is the older one's on
// through a pair of sockets between them; the older one goes on sending through
// the UDP socket itself. Whose a datagram is, its connection ID says: the first
// two bytes are the mark of a process. A chain of processes works the same way:
// each passes on what has the mark of one before it.

// HandOverQUIC begins to hand the UDP socket over to another process, which is
// given a duplicate of it and has the returned file, one end of a pair of
// sockets, as its [QUIC.Previous]. As soon as that process serves, this one
// reads the UDP socket no more: new connections are the other's, and the
// datagrams of the connections that this one has still come from it. They go on,
// without a gap, until Shutdown or Close. If the other process ends first, this
// one reads the UDP socket again. The caller closes the file when it has passed
// it on.
//
// It fails without HTTP/3, and with [errors.ErrUnsupported] on a system other
// than Linux.
func (s *Server) HandOverQUIC() (*os.File, error) {
	if q := s.quicServer(); q != nil {
		if u := q.socket(); u != nil {
			return u.handOver()
		}
	}
	return nil, errNoQUIC
}

var errNoQUIC = errors.New("listen: hand over QUIC: the server does not serve HTTP/3 on a UDP socket")

// mark begins the connection IDs of a process.
type mark [2]byte

// connIDLen is the length of connection IDs: the mark and 9 random bytes, which
// nobody guesses. The first connection IDs of a connection are its client's,
// random and mostly of another length.
const connIDLen = 11

// connIDs makes connection IDs (RFC 9000, section 5.1).
type connIDs struct{ mark mark }

// GenerateConnectionID returns a new one.
func (g connIDs) GenerateConnectionID() (quic.ConnectionID, error) {
	var b [connIDLen]byte
	_, _ = rand.Read(b[copy(b[:], g.mark[:]):]) // never fails
	return quic.ConnectionIDFromBytes(b[:]), nil
}

// ConnectionIDLen returns their length.
func (connIDs) ConnectionIDLen() int { return connIDLen }

// newMark returns a mark that no process before this one has.
func newMark(before []mark) mark {
	for {
		var m mark
		_, _ = rand.Read(m[:])
		if !slices.Contains(before, m) {
			return m
		}
	}
}

// markOf returns the mark of the connection that a datagram is of (RFC 8999,
// section 5), if it can have one.
func markOf(datagram []byte) (m mark, short, ok bool) {
	if len(datagram) == 0 {
		return m, false, false
	}
	short = datagram[0]&0x80 == 0
	id := datagram[1:]
	if !short { // version (4 bytes), length of the destination's ID (1)
		if len(id) < 5 || id[4] != connIDLen {
			return m, false, false
		}
		id = id[5:]
	}
	if len(id) < connIDLen {
		return m, short, false
	}
	return mark(id), short, true
}

// What goes through the pair: first, to the newer process, the marks of the
// older one and of those before it; then, to the older one, an empty message
// when the newer one serves; then datagrams.

// maxMarks bounds how many processes there may be in a chain.
const maxMarks = 64

// maxMessage holds a datagram with what comes before it. quic-go takes no longer
// datagrams than 1,452 bytes.
const maxMessage = 2048

const passedHeader = 16 + 2 + 4 + 1 // address, port, zone, length of the control messages

// passed is a datagram as it goes through the pair.
type passed struct {
	from    netip.AddrPort
	scope   uint32 // the zone of a link-local address, as a number
	control []byte // as the system gave it: ECN, and which address it came to
	payload []byte
}

func (p *passed) appendTo(b []byte) []byte {
	addr := p.from.Addr().As16()
	b = append(b, addr[:]...)
	b = binary.BigEndian.AppendUint16(b, p.from.Port())
	b = binary.BigEndian.AppendUint32(b, p.scope)
	b = append(b, byte(len(p.control)))
	b = append(b, p.control...)
	return append(b, p.payload...)
}

// parsePassed returns what appendTo made b of, or false.
func parsePassed(b []byte) (p passed, ok bool) {
	if len(b) < passedHeader {
		return p, false
	}
	p.from = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b)).Unmap(), binary.BigEndian.Uint16(b[16:]))
	p.scope = binary.BigEndian.Uint32(b[18:])
	n := int(b[22])
	b = b[passedHeader:]
	if len(b) < n {
		return p, false
	}
	p.control, p.payload = b[:n], b[n:]
	return p, true
}

func (p *passed) addr() *net.UDPAddr {
	a := net.UDPAddrFromAddrPort(p.from)
	if p.scope != 0 {
		if i, err := net.InterfaceByIndex(int(p.scope)); err == nil {
			a.Zone = i.Name
		}
	}
	return a
}

func marksMessage(own mark, before []mark) []byte {
	b := slices.Clone(own[:])
	for _, m := range before[:min(len(before), maxMarks-1)] {
		b = append(b, m[:]...)
	}
	return b
}

func parseMarks(b []byte) ([]mark, bool) {
	if len(b) == 0 || len(b)%2 != 0 || len(b) > 2*maxMarks {
		return nil, false
	}
	var marks []mark
	for ; len(b) > 0; b = b[2:] {
		marks = append(marks, mark(b))
	}
	return marks, true
}
