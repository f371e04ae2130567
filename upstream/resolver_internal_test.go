package upstream

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
)

// The types of DNS records (RFC 1035 §3.2.2, RFC 3596, RFC 2782).
const (
	typeA    = 1
	typeAAAA = 28
	typeSRV  = 33
)

// zone is a DNS server on loopback. It knows A and AAAA records, and SRV
// records written "priority port target".
type zone struct {
	conn net.PacketConn

	mu    sync.Mutex
	names map[string]map[uint16][][]byte // name with a final dot, type, data of records
}

// newZone starts a zone. If silent is set, it is called for each question, and
// no answer is given.
func newZone(t *testing.T, silent func()) *zone {
	t.Helper()
	conn, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	z := &zone{conn: conn, names: make(map[string]map[uint16][][]byte)}
	var wg sync.WaitGroup
	t.Cleanup(func() {
		_ = conn.Close()
		wg.Wait()
	})
	wg.Go(func() {
		question := make([]byte, 512)
		for {
			n, from, err := conn.ReadFrom(question)
			if err != nil {
				return
			}
			if silent != nil {
				silent()
				continue
			}
			_, _ = conn.WriteTo(z.answer(question[:n]), from)
		}
	})
	return z
}

// source returns what s names, resolved by z.
func (z *zone) source(t *testing.T, s string) Resolver {
	t.Helper()
	_, r, err := ParseSource(s)
	if err != nil {
		t.Fatal(err)
	}
	d, ok := r.(*dnsSource)
	if !ok {
		t.Fatalf("%s is a %T", s, r)
	}
	d.lookup = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dialDNS(ctx, "udp", z.conn.LocalAddr().String())
	}}
	return d
}

// set makes the addresses all that there is under name.
func (z *zone) set(name string, addresses ...string) {
	records := make(map[uint16][][]byte)
	for _, a := range addresses {
		ip := netip.MustParseAddr(a)
		kind := uint16(typeA)
		if ip.Is6() {
			kind = typeAAAA
		}
		records[kind] = append(records[kind], ip.AsSlice())
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	z.names[name] = records
}

type srv struct {
	priority, port uint16
	target         string
}

// setSRV makes the records all that there is under name.
func (z *zone) setSRV(name string, records ...srv) {
	var data [][]byte
	for _, r := range records {
		b := binary.BigEndian.AppendUint16(nil, r.priority)
		b = binary.BigEndian.AppendUint16(b, 1) // weight
		b = binary.BigEndian.AppendUint16(b, r.port)
		for label := range strings.SplitSeq(strings.TrimSuffix(r.target, "."), ".") {
			if label != "" {
				b = append(append(b, byte(len(label))), label...)
			}
		}
		data = append(data, append(b, 0))
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	z.names[name] = map[uint16][][]byte{typeSRV: data}
}

// answer packs an answer (RFC 1035 §4.1).
func (z *zone) answer(question []byte) []byte {
	const header = 12
	var name strings.Builder
	end := header
	for question[end] != 0 {
		size := int(question[end])
		name.Write(question[end+1 : end+1+size])
		name.WriteByte('.')
		end += 1 + size
	}
	end += 5 // the root label, type and class
	kind := binary.BigEndian.Uint16(question[end-4:])
	z.mu.Lock()
	defer z.mu.Unlock()
	records, known := z.names[strings.ToLower(name.String())]

	b := append([]byte(nil), question[:2]...)
	flags := uint16(0x8180) // an answer, recursion desired and available
	if !known {
		flags |= 3 // NXDOMAIN
	}
	for _, n := range []uint16{flags, 1, uint16(len(records[kind])), 0, 0} {
		b = binary.BigEndian.AppendUint16(b, n)
	}
	b = append(b, question[header:end]...)
	for _, data := range records[kind] {
		for _, n := range []uint16{0xc000 | header, kind, 1, 0, 60, uint16(len(data))} { // TTL 60 s
			b = binary.BigEndian.AppendUint16(b, n)
		}
		b = append(b, data...)
	}
	return b
}

// resolves fails t unless r says want, endpoints written "endpoint address".
func resolves(t *testing.T, r Resolver, want ...string) {
	t.Helper()
	endpoints, valid, err := r.Resolve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range endpoints {
		got = append(got, e.String()+" "+e.Address)
	}
	if !slices.Equal(got, want) || valid != dnsValid {
		t.Errorf("%q for %v, want %q for %v", got, valid, want, dnsValid)
	}
}

func TestEachAddressOfANameIsAnEndpoint(t *testing.T) {
	z := newZone(t, nil)
	z.set("api.test.", "192.0.2.2", "192.0.2.1", "2001:db8::1", "192.0.2.2")
	r := z.source(t, "dns+https://api.test:8443/v1")
	resolves(t, r,
		"https://api.test:8443/v1 192.0.2.1:8443",
		"https://api.test:8443/v1 192.0.2.2:8443",
		"https://api.test:8443/v1 [2001:db8::1]:8443")
	for source, port := range map[string]string{"dns+http://api.test": ":80", "dns+h2c://api.test": ":80", "dns+https://api.test": ":443"} {
		written := strings.TrimPrefix(source, "dns+")
		resolves(t, z.source(t, source),
			written+" 192.0.2.1"+port, written+" 192.0.2.2"+port, written+" [2001:db8::1]"+port)
	}
	z.set("api.test.", "192.0.2.1")
	resolves(t, z.source(t, "dns+http://api.test.:8080"), "http://api.test:8080 192.0.2.1:8080")
	resolves(t, z.source(t, "dns+http://api.test."), "http://api.test 192.0.2.1:80")
}

func TestAnAnswerInAnotherOrderIsTheSame(t *testing.T) {
	z := newZone(t, nil)
	r := z.source(t, "dns+http://api.test:80")
	want := []string{"http://api.test:80 192.0.2.1:80", "http://api.test:80 192.0.2.2:80"}
	z.set("api.test.", "192.0.2.1", "192.0.2.2")
	resolves(t, r, want...)
	z.set("api.test.", "192.0.2.2", "192.0.2.1")
	resolves(t, r, want...)
	z.set("api.test.", "2001:db8::1")
	resolves(t, r, "http://api.test:80 [2001:db8::1]:80")
}

func TestANameWithoutAddressesIsAnError(t *testing.T) {
	z := newZone(t, nil)
	z.set("empty.test.")
	z.setSRV("_none._tcp.test.", srv{0, 80, "."})
	for source, want := range map[string]string{
		"dns+http://gone.test":        "lookup gone.test",
		"dns+http://empty.test":       "lookup empty.test",
		"srv+http://_gone._tcp.test":  "lookup _gone._tcp.test",
		"srv+http://empty.test":       "lookup empty.test",
		"srv+https://_none._tcp.test": "no such service",
	} {
		endpoints, _, err := z.source(t, source).Resolve(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, error %v, want one with %q", source, endpoints, err, want)
		}
	}
}

func TestTheTargetsOfSRVRecordsAreEndpoints(t *testing.T) {
	z := newZone(t, nil)
	z.setSRV("_http._tcp.test.", srv{20, 9003, "c.test."}, srv{10, 9002, "b.test."}, srv{10, 9001, "a.test."}, srv{10, 9001, "a.test."})
	z.set("a.test.", "192.0.2.1", "2001:db8::1")
	z.set("b.test.", "192.0.2.2")
	z.set("c.test.", "192.0.2.3")
	r := z.source(t, "srv+h2c://_http._tcp.test/v1")
	resolves(t, r,
		"h2c://a.test:9001/v1 192.0.2.1:9001",
		"h2c://a.test:9001/v1 [2001:db8::1]:9001",
		"h2c://b.test:9002/v1 192.0.2.2:9002")

	z.set("a.test.") // is left out
	resolves(t, r, "h2c://b.test:9002/v1 192.0.2.2:9002")

	z.set("b.test.")
	if endpoints, _, err := r.Resolve(t.Context()); err == nil || !strings.Contains(err.Error(), "test") {
		t.Errorf("%v, error %v, with no target that resolves", endpoints, err)
	}

	z.setSRV("_http._tcp.test.", srv{20, 9003, "c.test."}, srv{20, 0, "c.test."}, srv{20, 9004, "no name.test."})
	resolves(t, r, "h2c://c.test:9003/v1 192.0.2.3:9003")
}

func TestManySRVTargetsAreAllResolved(t *testing.T) {
	z := newZone(t, nil)
	var records []srv
	var want []string
	for i := range 3 * srvLookups { // fits a UDP answer
		name := string(rune('a'+i)) + ".test."
		records = append(records, srv{0, 80, name})
		z.set(name, "192.0.2.1")
		want = append(want, "http://"+name[:len(name)-1]+":80 192.0.2.1:80")
	}
	z.setSRV("_http._tcp.test.", records...)
	resolves(t, z.source(t, "srv+http://_http._tcp.test"), want...)
}

func TestALookupEndsWithItsContext(t *testing.T) {
	for _, source := range []string{"dns+http://api.test", "srv+http://_http._tcp.test"} {
		ctx, cancel := context.WithCancel(t.Context())
		r := newZone(t, cancel).source(t, source)
		if _, _, err := r.Resolve(ctx); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "test") {
			t.Errorf("%s: error %v after its context ended", source, err)
		}
	}
}

func TestAQuestionToASilentServerEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c, err := dialDNS(ctx, "udp", newZone(t, nil).conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("error %v, want that it is closed", err)
	}
}

func FuzzEndpointFile(f *testing.F) {
	for _, s := range []string{"", "\n", "# c\n\nhttp://a:1/b\nunix:/x\n", "http://a\r\n", "http://a", "http://a\n#", "h2c://a\n\nnope\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		endpoints, err := parseList("list", text)
		if (err == nil) != (len(endpoints) > 0) {
			t.Fatalf("%d endpoints, error %v", len(endpoints), err)
		}
		if err != nil {
			return
		}
		var again bytes.Buffer
		for _, e := range endpoints {
			again.WriteString(e.String() + "\n")
		}
		back, err := parseList("list", again.Bytes())
		if err != nil || !slices.Equal(back, endpoints) {
			t.Errorf("%v reads back as %v, %v", endpoints, back, err)
		}
	})
}
