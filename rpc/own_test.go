package rpc_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/fairlead-edge/fairlead/deliver"
	"github.com/fairlead-edge/fairlead/rpc"
)

const (
	checks      = "/grpc.health.v1.Health/Check"
	reflectsOne = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
	reflectsOld = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
)

// coded returns the message as the media type has it.
func coded(t *testing.T, kind string, m proto.Message) []byte {
	t.Helper()
	marshal := proto.Marshal
	if strings.HasSuffix(kind, "json") {
		marshal = protojson.Marshal
	}
	b, err := marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if kind == "application/json" || kind == "application/proto" {
		return b
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(b))), b...) //nolint:gosec // small
}

// owns asks whether the request is ours, and checks that its body is whole.
func owns(t *testing.T, h *rpc.Handler, path, kind string, body []byte) bool {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, io.NopCloser(bytes.NewReader(body)))
	r.Header.Set("Content-Type", kind)
	again, own := h.Own(r)
	if whole, err := io.ReadAll(again.Body); err != nil || !bytes.Equal(whole, body) {
		t.Errorf("the body of %d bytes has become one of %d, %v", len(body), len(whole), err)
	}
	return own
}

func TestOnlyCallsAboutOurNamesAreOurs(t *testing.T) {
	t.Parallel()
	h := rpc.New(rpc.Config{Readers: deliver.New(deliver.Config{})})
	health := func(name string) proto.Message { return &grpc_health_v1.HealthCheckRequest{Service: name} }
	file := func(name string) proto.Message {
		return &reflectionv1.ServerReflectionRequest{Host: "h", MessageRequest: &reflectionv1.ServerReflectionRequest_FileByFilename{FileByFilename: name}}
	}
	list := &reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{ListServices: "*"}}
	for _, kind := range []string{"application/grpc", "application/grpc+proto", "application/grpc-web+proto", "application/grpc+json", "application/connect+proto", "application/connect+json", "application/proto", "application/json"} {
		for _, c := range []struct {
			path string
			m    proto.Message
			want bool
		}{
			{checks, health("fairlead.v1.Topics"), true},
			{"/grpc.health.v1.Health/Watch", health("fairlead.v1.Topics"), true},
			{checks, health(""), false},
			{checks, health("other.v1.Service"), false},
			{checks, health(strings.Repeat("x", 5000)), false},
			{reflectsOne, ofSymbol("fairlead.v1.Topics"), true},
			{reflectsOne, ofSymbol("fairlead.v1.Topics.Publish"), true},
			{reflectsOne, ofSymbol("fairlead.v1.Event"), true},
			{reflectsOld, ofSymbol("fairlead.v1.Topics"), true},
			{reflectsOne, ofSymbol("fairlead.v1.Other"), false},
			{reflectsOne, ofSymbol("google.protobuf.Timestamp"), false},
			{reflectsOne, ofSymbol("fairlead.v1..Topics"), false},
			{reflectsOne, file("fairlead/v1/topics.proto"), true},
			{reflectsOne, file("google/protobuf/timestamp.proto"), false},
			{reflectsOne, list, false},
		} {
			if own := owns(t, h, c.path, kind, coded(t, kind, c.m)); own != c.want {
				t.Errorf("%s %s %v: ours is %v", c.path, kind, c.m, own)
			}
		}
		owns(t, h, checks, kind, nil)
		owns(t, h, checks, kind, []byte{0, 0})
		owns(t, h, checks, kind, []byte{0, 0, 0, 0, 9, 1})
	}
	packed := coded(t, "application/grpc", health("fairlead.v1.Topics"))
	packed[0] = 1
	if owns(t, h, checks, "application/grpc", packed) {
		t.Error("a compressed message was read")
	}
	if !owns(t, h, reflectsOne, "application/json", []byte(`{"file_containing_symbol":"fairlead.v1.Topics"}`)) {
		t.Error("a field's own name is not known")
	}
	if !owns(t, h, "/fairlead.v1.Topics/Publish", "", nil) || !h.Serves("/fairlead.v1.Topics/Publish") || !h.Serves(checks) || !h.Serves(reflectsOld) || h.Serves("/other.v1.Service/Call") {
		t.Error("the paths are others")
	}
	get := httptest.NewRequestWithContext(t.Context(), http.MethodGet, checks, http.NoBody)
	if _, own := h.Own(get); own {
		t.Error("a GET is ours")
	}
}

// silent is a body of which nothing comes until it is closed.
type silent struct{ closed chan struct{} }

func (s silent) Read([]byte) (int, error) { <-s.closed; return 0, io.ErrClosedPipe }
func (s silent) Close() error             { close(s.closed); return nil }

func TestASilentBodyIsNotWaitedForForEver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := rpc.New(rpc.Config{Readers: deliver.New(deliver.Config{}), WriteTimeout: 7 * time.Second})
		ask := func(ctx context.Context) time.Duration {
			r := httptest.NewRequestWithContext(ctx, http.MethodPost, reflectsOne, silent{make(chan struct{})})
			r.ProtoMajor = 2
			r.Header.Set("Content-Type", "application/grpc")
			began := time.Now()
			if _, own := h.Own(r); own {
				t.Error("nothing is ours")
			}
			return time.Since(began)
		}
		if took := ask(t.Context()); took != 7*time.Second {
			t.Errorf("it took %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if took := ask(ctx); took != time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

func FuzzAnyBodyIsPassedOnWhole(f *testing.F) {
	h := rpc.New(rpc.Config{Readers: deliver.New(deliver.Config{})})
	f.Add(true, "application/grpc", []byte("\x00\x00\x00\x00\x14\x0a\x12fairlead.v1.Topics"))
	f.Add(false, "application/grpc", []byte("\x00\x00\x00\x00\x14\x22\x12fairlead.v1.Topics"))
	f.Add(false, "application/json", []byte(`{"fileContainingSymbol":"fairlead.v1.Topics"}`))
	f.Add(true, "application/proto", []byte("\x0a\x12fairlead.v1.Topics"))
	f.Add(true, "application/grpc-web", []byte("\x01\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, health bool, kind string, body []byte) {
		path := reflectsOne
		if health {
			path = checks
		}
		owns(t, h, path, kind, body)
	})
}
