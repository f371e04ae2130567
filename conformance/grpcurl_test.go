package conformance_test

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// grpcurl calls the server without TLS, and returns what it printed.
func grpcurl(t *testing.T, args ...string) *process {
	t.Helper()
	program, err := filepath.Abs("../.tools/grpcurl")
	if err == nil {
		_, err = os.Stat(program)
	}
	if err != nil {
		t.Fatalf("grpcurl is not installed (%v): run ci/tools", err)
	}
	return start(t, nil, program, append([]string{"-plaintext", "-emit-defaults"}, args...)...)
}

func (s *server) address() string { return strings.TrimPrefix(s.http, "http://") }

func TestGrpcurlFindsTheServiceByReflectionAndUsesIt(t *testing.T) {
	t.Parallel()
	s := serve(t)
	if got := grpcurl(t, s.address(), "list").rest(); !slices.Equal(got, []string{"fairlead.v1.Topics"}) {
		t.Errorf("it lists %q", got)
	}
	described := strings.Join(grpcurl(t, s.address(), "describe", "fairlead.v1.Topics").rest(), "\n")
	for _, method := range []string{"Publish", "Upload", "Subscribe", "Session"} {
		if !strings.Contains(described, "rpc "+method+" (") {
			t.Errorf("%s is not described in %s", method, described)
		}
	}
	var stored struct {
		Last  string
		Count int
	}
	publish := `{"topic":"news","events":[{"data":"` + base64.StdEncoding.EncodeToString([]byte("hello")) + `"},{"data":"AA=="}]}`
	decodeAll(t, grpcurl(t, "-d", publish, s.address(), "fairlead.v1.Topics/Publish").rest(), &stored)
	if stored.Count != 2 || stored.Last == "" {
		t.Errorf("Publish answered %+v", stored)
	}
	if p := getPage(t, s.http+"/topics/news?limit=1"); len(p.Events) != 1 {
		t.Errorf("the topic has %+v", p)
	}
	curl(t, "-X", "POST", "-H", "Fairlead-Close: ?1", s.http+"/topics/news").rest()
	read := strings.Join(grpcurl(t, "-d", `{"topic":"news","after":"earliest"}`, s.address(), "fairlead.v1.Topics/Subscribe").rest(), "")
	if strings.Count(read, `"data"`) != 2 || !strings.Contains(read, stored.Last) {
		t.Errorf("Subscribe answered %s", read)
	}
	session := `{"id":1,"ping":{}}{"id":2,"subscribe":{"topic":"news","after":"earliest"}}`
	said := strings.Join(grpcurl(t, "-d", session, s.address(), "fairlead.v1.Topics/Session").rest(), "")
	if strings.Count(said, `"ok"`) != 2 || strings.Count(said, `"data"`) != 2 || strings.Count(said, `"end"`) != 1 {
		t.Errorf("Session answered %s", said)
	}
	failed := grpcurl(t, "-d", `{"topic":"none"}`, s.address(), "fairlead.v1.Topics/Subscribe")
	failed.rest()
	failed.wait()
	if text := failed.errors(); !strings.Contains(text, "NotFound") || !strings.Contains(text, "NOT_FOUND") {
		t.Errorf("it failed with %s", text)
	}
	var health struct{ Status string }
	decodeAll(t, grpcurl(t, "-d", `{"service":"fairlead.v1.Topics"}`, "-proto", "testdata/health.proto", s.address(), "grpc.health.v1.Health/Check").rest(), &health)
	if health.Status != "SERVING" {
		t.Errorf("the health is %+v", health)
	}
}

func decodeAll(t *testing.T, lines []string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(strings.Join(lines, "")), v); err != nil {
		t.Fatalf("%v in %q", err, lines)
	}
}
