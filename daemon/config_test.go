package daemon_test

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead/capture"
	"github.com/fairlead-edge/fairlead/daemon"
)

// write puts text into a configuration file.
func write(t testing.TB, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "fairlead.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func load(t testing.TB, text string) (daemon.Config, error) {
	t.Helper()
	return daemon.Load(daemon.Options{Config: write(t, text)})
}

const shipped = "../fairlead.yaml"

func TestTheCommentedFileHoldsTheDefaults(t *testing.T) {
	t.Parallel()
	cfg, err := daemon.Load(daemon.Options{Config: shipped})
	if err != nil {
		t.Fatal(err)
	}
	if want := daemon.Default(); !reflect.DeepEqual(cfg, want) {
		t.Errorf("fairlead.yaml is\n%+v\nthe defaults are\n%+v", cfg, want)
	}
	empty, err := load(t, "")
	if err != nil || !reflect.DeepEqual(empty, daemon.Default()) {
		t.Errorf("an empty file is %+v, %v", empty, err)
	}
}

func TestTheCommentedFileNamesEveryKey(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(shipped)
	if err != nil {
		t.Fatal(err)
	}
	var visit func(reflect.Type)
	visit = func(ty reflect.Type) {
		for ty.Kind() == reflect.Slice || ty.Kind() == reflect.Map {
			ty = ty.Elem()
		}
		if ty.Kind() != reflect.Struct {
			return
		}
		for f := range ty.Fields() {
			key := f.Tag.Get("yaml")
			if key == "" {
				continue
			}
			if !regexp.MustCompile(`(?m)^[#\s{-]*` + key + `:|[{,] ?` + key + `:`).Match(text) {
				t.Errorf("fairlead.yaml does not show %q", key)
			}
			visit(f.Type)
		}
	}
	visit(reflect.TypeFor[daemon.Config]())
}

// uncommented returns the shipped file with its examples in force.
func uncommented(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(shipped)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	explains := regexp.MustCompile(`^#( \S|$)`)
	examples, inside := 0, false
	for i, line := range lines {
		if !strings.HasPrefix(line, "#") || explains.MatchString(line) {
			inside = false
			continue
		}
		example := line[1:]
		key, _, _ := strings.Cut(example, ":")
		switch {
		case !strings.HasPrefix(key, " "):
			inside = true
			examples++
			for j := range i {
				if strings.HasPrefix(lines[j], key+":") {
					lines[j] = ""
				}
			}
		case !inside:
			continue // an indented explanation
		}
		lines[i] = example
	}
	if examples < 5 {
		t.Fatalf("%d examples found", examples)
	}
	return strings.Join(lines, "\n")
}

func TestTheExamplesOfTheCommentedFileAreRight(t *testing.T) {
	t.Parallel()
	file := write(t, uncommented(t))
	writeCertificate(t, filepath.Dir(file))
	cfg, err := daemon.Load(daemon.Options{Config: file})
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Routes) != 3 || len(cfg.Upstreams) != 2 || len(cfg.Topics) != 2 || len(cfg.Hosts) != 2 || len(cfg.CORS) != 1 || len(cfg.TrustedProxies) != 2 {
		t.Errorf("some examples did not take effect: %+v", cfg)
	}
	if got := cfg.Routes[2].Capture.OnDisconnect; got != daemon.OnDisconnect(time.Minute) {
		t.Errorf("on_disconnect is %+v", got)
	}
	plain := cfg.Routes[0].Capture
	full := cfg.Routes[2].Capture
	if plain.Record != full.Record || plain.End != full.End || plain.MaxEvent != full.MaxEvent {
		t.Errorf("the values of the full example, %+v, are not the defaults, %+v", full, plain)
	}
	bare, err := load(t, "upstreams: {api: {endpoints: [http://127.0.0.1:9000, http://127.0.0.1:9001], health: {kind: http, path: /healthz}}}")
	if err != nil || !reflect.DeepEqual(bare.Upstreams["api"], cfg.Upstreams["api"]) {
		t.Errorf("the values of the full example, %+v, are not the defaults, %+v, %v", cfg.Upstreams["api"], bare.Upstreams["api"], err)
	}
}

const api = "upstreams: {api: {endpoints: [http://a:1]}}\n"

// wrong are files and the problems each has.
var wrong = []struct{ text, want string }{
	{"heartbeet: 1s", `:1:1: unknown key "heartbeet"; did you mean "heartbeat"?`},
	{"quic: 1s", `:1:1: unknown key "quic"; known here: admin, admin_token,`},
	{"drain:\n  windw: 1s", `:2:3: unknown key "windw"; did you mean "window"?`},
	{"heartbeat: soon", `:1:12: "soon" is not a duration; write a number and its unit`},
	{"heartbeat: -5s", `:1:12: "-5s" is negative`},
	{"heartbeat: 1ms", `:1:12: a heartbeat every 1ms: want one between 1s and 1h`},
	{"fanout: {flush_delay: 1500ms}", `:1:23: a delay of 1.5s: want one up to 1s, such as 20ms, or 0s for none`},
	{"fanout: {flush_delay: -1ms}", `:1:23: "-1ms" is negative`},
	{"fanout: {engine: on}", `:1:18: `},
	{"heartbeat: [1s]", `:1:12: want a single value here`},
	{"heartbeat:", `:1:1: "heartbeat" has no value`},
	{"limits: {body: 1MB}", `:1:16: "1MB" is not a size`},
	{"limits: {body: 0}", `:1:16: body is 0 or less`},
	{"limits: {body: 9999999999GiB}", `is not a size`},
	{"limits: {topics: many}", `:1:18: want a whole number here`},
	{"limits: {captured_total: 1MiB}", `one stream of 16MiB is over limits.captured_total, 1MiB`},
	{"limits: 5", `:1:9: want keys and values here`},
	{"http: 8080", `:1:7: want text here; put it in quotes`},
	{"http: localhost", `:1:7: "localhost" is not an address; write host:port`},
	{`http: ":99999"`, `:1:7: port "99999" is not a number from 0 to 65535`},
	{`{http: "", admin: ""}`, `:1:8: http, https and admin are all off`},
	{`{http: "127.0.0.1:1", admin: "127.0.0.1:1"}`, `:1:30: admin is the address of http`},
	{`admin: "0.0.0.0:9090"`, `:1:8: the admin listener is open to others at 0.0.0.0:9090; set admin_token`},
	{"hosts: api.example.com", `:1:8: want a list here`},
	{`hosts: ["http://x"]`, `:1:9: "http://x" is not a host name`},
	{`cors: [ok.example.com]`, `:1:8: "ok.example.com" is not an origin`},
	{"trusted_proxies: [ten]", `:1:19: "ten" is neither an address nor a range`},
	{"topics_prefix: topics", `:1:16: "topics" is not a prefix`},
	{"topics_prefix: /.well-known/fairlead/x", `captured streams live`},
	{"log: {level: loud}", `:1:14: "loud" is not one of debug, info, warn, error`},
	{"log: {format: xml}", `:1:15: "xml" is not one of auto, text, json`},
	{"drain: {window: 1m}", `:1:17: the window, 1m, is longer than drain.deadline, 25s`},
	{"upstreams: {api: {}}", `:1:18: upstream "api" has no endpoints`},
	{"upstreams: {api: {endpoints: [ftp://a]}}", `:1:31: endpoint: it must begin with http://`},
	{"upstreams: {api: {endpoints: [http://a, http://a]}}", `:1:41: http://a is an endpoint of "api" already`},
	{"upstreams: {api: {endpoints: [http://a], preserve_host: yes}}", `:1:57: want true or false here`},
	{api + "routes: [{path: /v1/**, upstream: apx}]", `:2:35: there is no upstream "apx"; there are: api`},
	{"routes: [{path: /v1/**, upstream: api}]", `:1:35: there is no upstream "api"; define it under upstreams`},
	{api + "routes: [{upstream: api}]", `:2:10: the route has no path`},
	{api + "routes: [{path: /a}]", `:2:10: the route has no upstream`},
	{api + "routes:\n- {path: /a/*, upstream: api}\n- {path: a/*, upstream: api}", `:4:10: there is a route for /a/* already`},
	{api + "routes: [{path: /v1*, upstream: api}]", `:2:17: "v1*": a wildcard stands for whole segments`},
	{api + "routes: [{path: /a, upstream: api, capture: some}]", `:2:45: record "some": want off, events or all`},
	{api + "routes: [{path: /a, upstream: api, capture: {recrd: all}}]", `did you mean "record"?`},
	{api + "routes: [{path: /a, upstream: api, capture: {on_disconnect: linger}}]", `linger and a duration`},
	{api + "routes: [{path: /a, upstream: api, capture: {owner: [ip]}}]", `:2:54: owner "ip": want header NAME`},
	{api + "routes: [{path: /a, upstream: api, capture: {max_event: 1GiB}}]", `over limits.captured_stream`},
	{api + "routes: [{path: /a, upstream: api, capture: {on_disconnect: linger 1h}}]", `captured_keep (10m)`},
	{"topics: [{deliver: every}]", `:1:10: the topic has no match`},
	{"topics: [{match: a/*, deliver: newest}]", `:1:32: deliver "newest": want every, newest N`},
	{"topics: [{match: a/*, deliver: newest 9, retain: {events: 5}}]", `newest 9 keeps more than retain.events, 5`},
	{"topics: [{match: a/*}, {match: a/*}]", `:1:32: there is a policy for a/* already`},
	{"topics: [{match: a/*, on_lag: cry}]", `:1:31: "cry" is not one of gap, close`},
	{"topics: [{match: a//b}]", `empty segment`},
	{"tracing: {endpoint: collector:4318}", `:1:21: want the URL of a collector, like http://127.0.0.1:4318`},
	{"tracing: {endpoint: 'http://user:secret@collector'}", `:1:21: the collector's URL has a scheme, a host and a path, and nothing else; a token for it belongs in the variable OTEL_EXPORTER_OTLP_HEADERS`},
	{"metrics: {event_types: [a, other]}", `:1:28: "other" is what all the types that are not listed count as`},
	{"metrics: {event_types: [a, a]}", `:1:28: "a" stands here a second time`},
	{"metrics: {event_types: ['']}", `:1:25: a type of events has 1 to 64 bytes here`},
	{"metrics: {event_types: [" + strings.Repeat("x,", 32) + "x]}", `:1:24: these are 33 types; at most 32 are counted by themselves`},
	{"metrics: perhaps", `:1:10: "perhaps" is not one of true, false`},
	{"tracing: {sample: 2}", `:1:19: "2" is not a share`},
	{"tracing: {deliveries: -1}", `:1:23: deliveries is negative; 0 is none`},
	{"a: 1\na: 2", `:2:1:`},
	{"a: &x 1", ``},
	{"heartbeat: &x 5s", `:1:12: anchors, aliases and tags are not read`},
	{"heartbeat: 5s\n---\nheartbeat: 6s", `second document`},
	{"http: [", `:1:7:`},
	{"upstreams: {a: {endpoints: [{http: 1}]}}", `:1:29: want a single value here`},
	{strings.Repeat("[", 200_000), `:1:101: this is nested deeper than any configuration`},
	{"topics:\n" + strings.Repeat("- ", 100_000), `:2:101: this is nested deeper than any configuration`},
	{strings.Repeat("# a\n", 300_000), `:1:1: the file is over 1048576 bytes`},
	{"upstreams: {\"\": {endpoints: [http://a]}}", `:1:13: the name is empty`},
	{"%YAML 1.2\n---\nheartbeet: 5s", `:3:1: unknown key`},
	{"\ufeffheartbeet: 5s", `:1:1: unknown key`},
	{"[]", `:1:1: want keys and values here`},
}

func TestEachProblemStandsAtItsPositionAndSaysWhatToDo(t *testing.T) {
	t.Parallel()
	for _, c := range wrong {
		_, err := load(t, c.text)
		if err == nil || !strings.Contains(err.Error(), "fairlead.yaml"+c.want) && !strings.Contains(err.Error(), strings.TrimPrefix(c.want, ":")) {
			t.Errorf("%s\n got %v\nwant %s", c.text, err, c.want)
		}
	}
}

func TestAllProblemsAreToldAtOnceInTheOrderOfTheFile(t *testing.T) {
	t.Parallel()
	_, err := load(t, "heartbeat: soon\nlimits:\n  body: big\nhttpp: x\n")
	problems, ok := errors.AsType[daemon.ConfigErrors](err)
	if !ok || len(problems) != 3 || !strings.HasSuffix(problems[0].Where, ":1:12") || !strings.HasSuffix(problems[1].Where, ":3:9") || !strings.HasSuffix(problems[2].Where, ":4:1") {
		t.Errorf("problems: %v", err)
	}
}

func TestWhatOnlyLooksWrongIsRead(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"byte order mark":     "\ufeffheartbeat: 5s",
		"directive":           "%YAML 1.2\n---\nheartbeat: 5s",
		"long blank line":     "heartbeat:\n" + strings.Repeat(" ", 300) + "\n  5s",
		"far comment":         strings.Repeat(" ", 300) + "# far\nheartbeat: 5s",
		"brackets in comment": "# " + strings.Repeat("[", 300) + "\nheartbeat: 5s",
		"brackets in text":    "admin_token: \"" + strings.Repeat("[", 300) + "\"\nheartbeat: 5s",
	} {
		if cfg, err := load(t, text); err != nil || cfg.Heartbeat != daemon.Duration(5*time.Second) {
			t.Errorf("%s: %v, %v", name, cfg.Heartbeat, err)
		}
	}
}

func TestAnEndlessFileIsNotReadToItsEnd(t *testing.T) {
	t.Parallel()
	if _, err := daemon.Check("/dev/zero", ""); err == nil || !strings.Contains(err.Error(), "the file is over 1048576 bytes") {
		t.Errorf("error %v", err)
	}
}

func TestAFlagBeatsTheFileAndIsNamedInItsError(t *testing.T) {
	t.Parallel()
	file := write(t, `http: "127.0.0.1:1"`)
	address, bad := "127.0.0.1:2", "nowhere"
	cfg, err := daemon.Load(daemon.Options{Config: file, HTTP: &address})
	if err != nil || cfg.HTTP != address {
		t.Errorf("http is %q, %v", cfg.HTTP, err)
	}
	if _, err := daemon.Load(daemon.Options{Config: file, HTTP: &bad}); err == nil || !strings.HasPrefix(err.Error(), "--http nowhere: ") || !errors.Is(err, daemon.ErrUsage) {
		t.Errorf("error %v", err)
	}
	if _, err := daemon.Load(daemon.Options{Upstreams: []string{"nowhere"}}); err == nil || !strings.HasPrefix(err.Error(), "--upstream nowhere: ") || !errors.Is(err, daemon.ErrUsage) {
		t.Errorf("error %v", err)
	}
	if _, err := daemon.Load(daemon.Options{Config: file, Upstreams: []string{"http://a"}}); err == nil {
		t.Error("an upstream beside a file is no error")
	}
}

func TestBehindAnUpstreamTheTopicsAreOffUnlessAskedFor(t *testing.T) {
	t.Parallel()
	off, err := daemon.Load(daemon.Options{Upstreams: []string{"http://a:1", "h2c://b:2"}})
	if err != nil || off.TopicsPrefix != "" || len(off.Routes) != 1 || off.Routes[0].Capture.Record != daemon.Record(capture.Events) {
		t.Errorf("%+v, %v", off, err)
	}
	on, err := daemon.Load(daemon.Options{Upstreams: []string{"http://a:1"}, Topics: true})
	if err != nil || on.TopicsPrefix != "/topics" {
		t.Errorf("%+v, %v", on, err)
	}
}

func FuzzConfig(f *testing.F) {
	text, err := os.ReadFile(shipped)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text))
	for _, c := range wrong {
		f.Add(c.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := load(t, text); err != nil && !strings.Contains(err.Error(), "fairlead.yaml:") {
			t.Errorf("an error without its position: %v", err)
		}
	})
}
