package listen

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
)

// proxyHeader returns a header of version 2.
func proxyHeader(command, family byte, rest string) string {
	b := append([]byte(proxySignature), 0x20|command, family)
	b = binary.BigEndian.AppendUint16(b, uint16(len(rest)))
	return string(b) + rest
}

const (
	proxy4 = "\xc0\x00\x02\x07" + "\x7f\x00\x00\x01" + "\xd4\x31" + "\x01\xbb"
	proxy6 = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07" + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" + "\xd4\x31" + "\x01\xbb"
)

// proxyHeaders are headers and who is the client by them; "" is the peer, an
// error is what its text begins with.
var proxyHeaders = map[string]struct{ header, client, err string }{
	"TCP over IPv4":        {proxyHeader(1, 0x11, proxy4), "192.0.2.7:54321", ""},
	"TCP over IPv6":        {proxyHeader(1, 0x21, proxy6), "[2001:db8::7]:54321", ""},
	"an IPv4 in an IPv6":   {proxyHeader(1, 0x21, strings.Repeat("\x00", 10)+"\xff\xff\xc0\x00\x02\x07"+proxy6[16:]), "192.0.2.7:54321", ""},
	"additions":            {proxyHeader(1, 0x11, proxy4+"\x03\x00\x04abcd"+"\xe0\x00\x01x"), "192.0.2.7:54321", ""},
	"the peer itself":      {proxyHeader(0, 0x00, ""), "", ""},
	"itself, and more":     {proxyHeader(0, 0x11, proxy4), "", ""},
	"unspecified":          {proxyHeader(1, 0x00, ""), "", ""},
	"UDP":                  {proxyHeader(1, 0x12, proxy4), "", ""},
	"a Unix socket":        {proxyHeader(1, 0x31, strings.Repeat("/", 216)), "", ""},
	"the largest":          {proxyHeader(1, 0x11, proxy4+strings.Repeat("x", 4096-12)), "192.0.2.7:54321", ""},
	"too large":            {proxyHeader(1, 0x11, proxy4+strings.Repeat("x", 4096)), "", "a header of 4108 bytes"},
	"version 1":            {"PROXY TCP4 192.0.2.7 127.0.0.1 54321 443\r\n", "", "no header of version 2"},
	"HTTP":                 {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "", "no header of version 2"},
	"a short word":         {"hello", "", "the header is cut short"},
	"nothing":              {"", "", "EOF"},
	"another version":      {strings.Replace(proxyHeader(1, 0x11, proxy4), "\n\x21", "\n\x31", 1), "", "version 3"},
	"an unknown command":   {proxyHeader(2, 0x11, proxy4), "", "unknown command 2"},
	"an unknown family":    {proxyHeader(1, 0x41, proxy4), "", "unknown family and protocol 0x41"},
	"an unknown protocol":  {proxyHeader(1, 0x13, proxy4), "", "unknown family and protocol 0x13"},
	"too few for IPv4":     {proxyHeader(1, 0x11, proxy4[:11]), "", "11 bytes of addresses, not 12"},
	"too few for IPv6":     {proxyHeader(1, 0x21, proxy6[:35]), "", "35 bytes of addresses, not 36"},
	"the addresses cut":    {proxyHeader(1, 0x11, proxy4)[:20], "", "the header is cut short"},
	"cut before addresses": {proxyHeader(1, 0x11, proxy4)[:16], "", "the header is cut short"},
}

func TestAProxyHeaderSaysWhoTheClientIs(t *testing.T) {
	for what, c := range proxyHeaders {
		r := strings.NewReader(c.header + "more")
		if c.err != "" {
			r = strings.NewReader(c.header)
		}
		got, err := readProxyHeader(r)
		want, _ := netip.ParseAddrPort(c.client)
		if (err == nil) != (c.err == "") || err != nil && !strings.HasPrefix(err.Error(), c.err) || got != want {
			t.Errorf("%s: %v, %v; want %q, %q", what, got, err, c.client, c.err)
		}
		if rest, _ := io.ReadAll(r); err == nil && string(rest) != "more" {
			t.Errorf("%s: what follows is %q", what, rest)
		}
	}
}

func FuzzProxyHeader(f *testing.F) {
	for _, c := range proxyHeaders {
		f.Add([]byte(c.header))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		client, err := readProxyHeader(r)
		if err != nil {
			if client.IsValid() || errors.Is(err, io.EOF) != (len(b) == 0) {
				t.Errorf("%v, %v", client, err)
			}
			return
		}
		read := len(b) - r.Len()
		if want := proxyFixed + int(binary.BigEndian.Uint16(b[14:])); read != want || want > proxyFixed+proxyLargest {
			t.Errorf("read %d bytes, not %d", read, want)
		}
		if client.IsValid() && b[13] != 0x11 && b[13] != 0x21 {
			t.Errorf("%v of family %#x", client, b[13])
		}
	})
}
