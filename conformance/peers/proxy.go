package main

import (
	"context"
	"embed"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"text/template"
)

//go:embed testdata
var testdata embed.FS

// setup is what a proxy is started with.
type setup struct {
	Address  string   // for clients, host:port
	Backends []string // host:port
	dir      string   // for its files
}

// proxy is one of those compared.
type proxy struct {
	name    string
	program string
	version []string // the arguments that make it say its version
	config  string   // the template in testdata, "" for none
	// args are those of the program; config is the file made of the template.
	args func(s setup, config string) []string
}

// all returns the proxies, the twin first. The programs must be installed.
func all(fairlead string) ([]proxy, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("the twin is this program, which cannot be found: %w", err)
	}
	return []proxy{
		{name: "twin", program: self, args: func(s setup, _ string) []string {
			return append([]string{"twin", s.Address}, s.Backends...)
		}},
		{name: "fairlead", program: fairlead, version: []string{"version"}, args: func(s setup, _ string) []string {
			args := []string{"serve", "--http", s.Address, "--admin", "127.0.0.1:0"}
			for _, b := range s.Backends {
				args = append(args, "--upstream", "http://"+b)
			}
			return args
		}},
		{name: "nginx", program: "nginx", version: []string{"-v"}, config: "nginx.conf", args: func(s setup, config string) []string {
			return []string{"-e", "stderr", "-p", s.dir, "-c", config}
		}},
		{name: "haproxy", program: "haproxy", version: []string{"-v"}, config: "haproxy.cfg", args: func(_ setup, config string) []string {
			return []string{"-db", "-f", config}
		}},
		{name: "caddy", program: "caddy", version: []string{"version"}, config: "Caddyfile", args: func(_ setup, config string) []string {
			return []string{"run", "--adapter", "caddyfile", "--config", config}
		}},
	}, nil
}

// configure writes the proxy's configuration and returns its path.
func (p proxy) configure(s setup) (string, error) {
	if p.config == "" {
		return "", nil
	}
	t, err := template.ParseFS(testdata, "testdata/"+p.config)
	if err != nil {
		return "", fmt.Errorf("template: %w", err)
	}
	var text strings.Builder
	if err := t.Execute(&text, s); err != nil {
		return "", fmt.Errorf("template: %w", err)
	}
	path := filepath.Join(s.dir, p.config)
	return path, os.WriteFile(path, []byte(text.String()), 0o600)
}

// freeAddress returns a loopback address that nobody listens on.
func freeAddress(ctx context.Context) (string, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("no free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}

// describe writes what is compared, and fails if a program is missing.
func describe(ctx context.Context, proxies []proxy, out io.Writer) error {
	fmt.Fprintf(out, "%s, %d cores", runtime.Version(), runtime.NumCPU())
	for _, p := range proxies {
		if p.version == nil {
			continue
		}
		said, err := exec.CommandContext(ctx, p.program, p.version...).CombinedOutput() //nolint:gosec // the table's own
		if err != nil {
			return fmt.Errorf("%s does not run; ci/peers installs it: %w", p.program, err)
		}
		line, _, _ := strings.Cut(string(said), "\n")
		fmt.Fprintf(out, "; %s: %s", p.name, line)
	}
	fmt.Fprintln(out)
	return nil
}
