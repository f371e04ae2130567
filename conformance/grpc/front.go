package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	conformancev1 "github.com/fairlead-edge/fairlead/conformance/grpc/connectrpc/conformance/v1"
)

// front serves the suite's reference server through fairlead until ctx ends. leg is
// how fairlead speaks with it: h1, h2c, or h2, which is over TLS.
func front(ctx context.Context, asked *conformancev1.ServerCompatRequest, out io.Writer, leg, fairlead, reference string) error {
	dir, err := os.MkdirTemp("", "fairlead-grpc")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	upstream, behind, err := startReference(ctx, asked, dir, leg, reference)
	if err != nil {
		return err
	}
	defer end(upstream)
	config := filepath.Join(dir, "fairlead.yaml")
	if err := writeConfig(asked, dir, config, behind); err != nil {
		return err
	}
	edge, port, err := startFairlead(ctx, asked, fairlead, config)
	if err != nil {
		return err
	}
	defer end(edge)
	err = writeMessage(out, &conformancev1.ServerCompatResponse{Host: "127.0.0.1", Port: port, PemCert: asked.GetServerCreds().GetCert()})
	if err == nil {
		<-ctx.Done()
	}
	return err
}

// command is one that is asked to end when ctx does.
func command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...) //nolint:gosec // by whoever runs the suite
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second // then it is killed
	return cmd
}

// end asks a program to, and waits for that.
func end(program *exec.Cmd) {
	_ = program.Process.Signal(syscall.SIGTERM) // it may have ended
	_ = program.Wait()                          // what it says has been said
}

// startReference returns the endpoint at which the reference server is.
func startReference(ctx context.Context, asked *conformancev1.ServerCompatRequest, dir, leg, program string) (*exec.Cmd, string, error) {
	want := &conformancev1.ServerCompatRequest{
		Protocol: asked.GetProtocol(), HttpVersion: conformancev1.HTTPVersion_HTTP_VERSION_2, MessageReceiveLimit: asked.GetMessageReceiveLimit(),
	}
	var scheme string
	switch leg {
	case "h1":
		scheme, want.HttpVersion = "http", conformancev1.HTTPVersion_HTTP_VERSION_1
	case "h2c":
		scheme = "h2c"
	case "h2":
		scheme, want.UseTls = "https", true
	default:
		return nil, "", fmt.Errorf("%q is none of h1, h2c, h2", leg)
	}
	cmd := command(ctx, program)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, "", err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	if err := cmd.Start(); err != nil {
		return nil, "", err
	}
	got := new(conformancev1.ServerCompatResponse)
	if err := errors.Join(writeMessage(in, want), readMessage(out, got), os.WriteFile(filepath.Join(dir, "upstream.pem"), got.GetPemCert(), 0o600)); err != nil {
		end(cmd)
		return nil, "", fmt.Errorf("%s: %w", program, err)
	}
	return cmd, scheme + "://127.0.0.1:" + strconv.Itoa(int(got.GetPort())), nil
}

// writeConfig has the defaults, but for what the suite asks for.
func writeConfig(asked *conformancev1.ServerCompatRequest, dir, name, endpoint string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "admin: \"\"\ntopics_prefix: \"\"\ndrain: {window: 0s, deadline: 2s}\nroutes: [{path: /**, upstream: reference}]\n")
	fmt.Fprintf(&b, "upstreams: {reference: {endpoints: [%q]", endpoint)
	if strings.HasPrefix(endpoint, "https") {
		fmt.Fprint(&b, ", tls: {ca: upstream.pem}")
	}
	fmt.Fprint(&b, "}}\n")
	if !asked.GetUseTls() {
		fmt.Fprint(&b, "http: \"127.0.0.1:0\"\n")
		return os.WriteFile(name, []byte(b.String()), 0o600)
	}
	fmt.Fprint(&b, "http: \"\"\nhttps: \"127.0.0.1:0\"\ntls:\n  certificates: [{cert: cert.pem, key: key.pem}]\n")
	var wrong error
	if cert := asked.GetClientTlsCert(); len(cert) > 0 {
		fmt.Fprint(&b, "  client_ca: client.pem\n  require_client: true\n")
		wrong = os.WriteFile(filepath.Join(dir, "client.pem"), cert, 0o600)
	}
	return errors.Join(wrong, writeCreds(asked, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")), os.WriteFile(name, []byte(b.String()), 0o600))
}

// startFairlead returns the port at which it is.
func startFairlead(ctx context.Context, asked *conformancev1.ServerCompatRequest, program, config string) (*exec.Cmd, uint32, error) {
	want := "http"
	if asked.GetUseTls() {
		want = "https"
	}
	cmd := command(ctx, program, "serve", "--config", config)
	log := filepath.Join(filepath.Dir(config), "fairlead.log")
	file, err := os.Create(log) //nolint:gosec // in a directory of our own
	if err != nil {
		return nil, 0, err
	}
	defer file.Close()
	cmd.Stderr = file
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, 0, err
	}
	if err := cmd.Start(); err != nil {
		return nil, 0, err
	}
	var port uint64
	for lines := bufio.NewScanner(out); lines.Scan(); {
		name, address, _ := strings.Cut(lines.Text(), " ")
		if u, err := url.Parse(address); err == nil && name == want {
			port, _ = strconv.ParseUint(u.Port(), 10, 16)
		}
		if name == "ready" && port > 0 {
			return cmd, uint32(port), nil
		}
	}
	end(cmd)
	said, _ := os.ReadFile(log) //nolint:gosec // the same
	return nil, 0, fmt.Errorf("%s did not start: %s", program, said)
}
