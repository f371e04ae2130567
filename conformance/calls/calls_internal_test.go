//go:build linux

package main

import (
	"encoding/json"
	"io"
	"net"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/fairlead-edge/fairlead/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestBothFormatsOfAnExampleSayTheSame(t *testing.T) {
	for _, s := range examples() {
		text, err := json.Marshal(s.plain)
		if err != nil {
			t.Fatal(err)
		}
		again := s.proto.ProtoReflect().New().Interface()
		if err := protojson.Unmarshal(text, again); err != nil {
			t.Errorf("%s: %v", s.name, err)
		}
		want, _ := protojson.Marshal(s.proto)
		got, _ := protojson.Marshal(again)
		var a, b any
		if json.Unmarshal(want, &a) != nil || json.Unmarshal(got, &b) != nil {
			t.Fatal("protojson is no JSON")
		}
		if x, y := string(marshal(a)), string(marshal(b)); x != y {
			t.Errorf("%s: JSON says %s, protobuf %s", s.name, y, x)
		}
	}
}

// marshal sorts the members.
func marshal(v any) []byte {
	b, _ := json.Marshal(v)
	return b
}

func TestALinkForwardsBothWays(t *testing.T) {
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	go func() {
		c, err := echo.Accept()
		if err != nil {
			return
		}
		_, _ = io.Copy(c, c)
		_ = c.Close()
	}()
	l, err := newLink(echo.Addr().String(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	c, err := net.Dial("tcp", l.address())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("there and back")); err != nil {
		t.Fatal(err)
	}
	_ = c.(*net.TCPConn).CloseWrite()
	if got, err := io.ReadAll(c); string(got) != "there and back" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}
