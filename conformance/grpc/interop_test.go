package main_test

import (
	"bufio"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// cases are those of grpc-go's interop client but for the ones that take credentials
// of a cloud: compute_engine_creds, service_account_creds, jwt_token_creds,
// per_rpc_creds, oauth2_auth_token, google_default_credentials and
// compute_engine_channel_credentials; and for pick_first_unary, which takes a server
// that tells its name, as grpc-go's does not. The compressed ones of other languages it
// does not have.
var cases = []struct {
	name string
	args []string
}{
	{name: "empty_unary"},
	{name: "large_unary"},
	{name: "client_streaming"},
	{name: "server_streaming"},
	{name: "ping_pong"},
	{name: "empty_stream"},
	{name: "timeout_on_sleeping_server"},
	{name: "cancel_after_begin"},
	{name: "cancel_after_first_response"},
	{name: "status_code_and_message"},
	{name: "special_status_message"},
	{name: "custom_metadata"},
	{name: "unimplemented_method"},
	{name: "unimplemented_service"},
	{name: "rpc_soak", args: []string{"-soak_iterations=20", "-soak_per_iteration_max_acceptable_latency_ms=10000", "-soak_num_threads=2"}},
	{name: "channel_soak", args: []string{"-soak_iterations=20", "-soak_per_iteration_max_acceptable_latency_ms=10000", "-soak_num_threads=2"}},
	{name: "orca_per_rpc", args: orca},
	{name: "orca_oob", args: orca},
}

var orca = []string{`-service_config_json={"loadBalancingConfig":[{"test_backend_metrics_load_balancer":{}}]}`}

func TestEveryCaseOfGRPCGoPassesDirectAndThroughTheProxy(t *testing.T) {
	a := newAuthority(t)
	h2c := interopServer(t)
	h2 := interopServer(t, "-use_tls", "-tls_cert_file="+a.cert, "-tls_key_file="+a.key)
	trusting := []string{"-use_tls", "-use_test_ca", "-ca_file=" + a.root}
	for _, way := range []struct {
		name, port string
		args       []string
	}{
		{"direct", h2c, nil},
		{"direct over TLS", h2, trusting},
		{"through the proxy", proxied(t, a, "http", "h2c://127.0.0.1:"+h2c), nil},
		{"through the proxy over TLS", proxied(t, a, "https", "https://127.0.0.1:"+h2), trusting},
	} {
		t.Run(way.name, func(t *testing.T) {
			for _, c := range cases {
				t.Run(c.name, func(t *testing.T) {
					args := append([]string{"-server_host=127.0.0.1", "-server_port=" + way.port, "-test_case=" + c.name}, way.args...)
					if out, err := finish(t, patience, exec.Command(tool(t, "interop/client"), append(args, c.args...)...)); err != nil {
						t.Errorf("%v: %s", err, lastOf(out))
					}
				})
			}
		})
	}
}

// interopServer starts grpc-go's server and returns its port.
func interopServer(t *testing.T, args ...string) (port string) {
	t.Helper()
	cmd := exec.Command(tool(t, "interop/server"), append([]string{"-port=0"}, args...)...)
	cmd.Env = append(os.Environ(), "GRPC_GO_LOG_SEVERITY_LEVEL=info") // it says only in its log where it is
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	return await(t, cmd, bufio.NewScanner(log), func(line string) (string, bool) {
		_, address, found := strings.Cut(line, "interop server listening on ")
		return address[strings.LastIndexByte(address, ':')+1:], found
	})
}

// proxied starts fairlead with defaults in front of an endpoint, and returns the port
// of one of its listeners.
func proxied(t *testing.T, a *authority, listener, endpoint string) (port string) {
	t.Helper()
	config := filepath.Join(t.TempDir(), "fairlead.yaml")
	const quiet = "log: {level: warn}\n"
	text := quiet + fmt.Sprintf("admin: \"\"\nhttp: \"\"\n%s: \"127.0.0.1:0\"\ntls: {certificates: [{cert: %q, key: %q}]}\n"+
		"upstreams: {interop: {endpoints: [%q], tls: {ca: %q}}}\nroutes: [{path: /**, upstream: interop}]\n", listener, a.cert, a.key, endpoint, a.root)
	if listener == "http" {
		text = quiet + fmt.Sprintf("admin: \"\"\nhttp: \"127.0.0.1:0\"\nupstreams: {interop: {endpoints: [%q]}}\nroutes: [{path: /**, upstream: interop}]\n", endpoint)
	}
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(fairlead, "serve", "--config", config)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	return await(t, cmd, bufio.NewScanner(out), func(line string) (string, bool) {
		address, found := strings.CutPrefix(line, listener+" ")
		u, err := url.Parse(address)
		if !found || err != nil {
			return "", false
		}
		return u.Port(), true
	})
}

// await starts a program, and returns the first that find finds in its lines; the rest
// is read, and dropped, until it ends.
func await(t *testing.T, cmd *exec.Cmd, lines *bufio.Scanner, find func(line string) (string, bool)) string {
	t.Helper()
	found, done := make(chan string, 1), make(chan struct{})
	t.Cleanup(func() { <-done }) // runs after the program's end
	start(t, cmd)
	go func() {
		defer close(done)
		defer close(found)
		searching := true
		for lines.Scan() {
			if what, ok := find(lines.Text()); ok && searching {
				found <- what
				searching = false
			}
		}
	}()
	what, ok := <-found
	if !ok {
		t.Fatalf("%s ended before it said where it is", cmd.Path)
	}
	return what
}
