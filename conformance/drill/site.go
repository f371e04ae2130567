package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// setup is what a fault needs of its site. The zero value is what a healthy one has.
type setup struct {
	endpoints int    // upstreams; 0 is 1
	h2        bool   // they speak HTTP/2
	pool      string // keys of the pool, as they stand in YAML's braces
	prepare   func(context.Context, *site) error
}

// site is a running Fairlead with its upstreams, its readers and their traffic.
type site struct {
	http, admin string // base URLs
	https       string // likewise; "" if it has none
	backends    []*backend
	endpoints   []string        // as the configuration names them; prepare may change them
	command     []string        // what starts the program; prepare may put something before it
	host        string          // where it listens
	tls         bool            // it listens for https, too
	hop         *hop            // before its upstream; nil: there is none
	network     *network        // with clients or an upstream in it; nil: there is none
	zone        *zone           // that its upstream is named in; nil: it has an address
	watch       *http.Transport // of who looks at it
	clients     *http.Transport // of its healthy clients
	dir         string          // its own, removed at the end
	ends        []func()        // run at the end, the last first
	cmd         *exec.Cmd
	stderr      bytes.Buffer // to be read after cmd has ended
	work        sync.WaitGroup

	mu     sync.Mutex
	errors int   // of healthy clients
	last   error // the latest of them
}

// open starts a site, whose traffic goes on until ctx ends.
func open(ctx context.Context, program string, with setup) (s *site, err error) {
	s = &site{
		watch: &http.Transport{MaxIdleConnsPerHost: 1, MaxConnsPerHost: 1}, clients: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true},
		host: "127.0.0.1",
	}
	defer func() {
		if err != nil {
			_ = s.close() // the first error tells
		}
	}()
	if s.dir, err = os.MkdirTemp("", "drill"); err != nil {
		return s, err
	}
	for range max(1, with.endpoints) {
		b, err := newBackend("127.0.0.1:0", with.h2)
		if err != nil {
			return s, err
		}
		s.backends = append(s.backends, b)
		s.endpoints = append(s.endpoints, b.url())
	}
	if program, err = filepath.Abs(program); err != nil {
		return s, err
	}
	config := filepath.Join(s.dir, "fairlead.yaml")
	s.command = []string{program, "serve", "--config", config, "--http", "", "--admin", "127.0.0.1:0"}
	if with.prepare != nil {
		if err := with.prepare(ctx, s); err != nil {
			return s, err
		}
	}
	for i, arg := range s.command {
		if arg == "--http" {
			s.command[i+1] = s.host + ":0"
		}
	}
	if s.tls {
		s.command = append(s.command, "--https", s.host+":0")
	}
	text := "topics_prefix: /topics\npublish_token: " + token + "\ncompress: {prefer: off}\ndrain: {window: 100ms, deadline: 1s}\nupstreams:\n  api:\n    endpoints: [\"" +
		strings.Join(s.endpoints, `", "`) + "\"]\n    pool: {" + with.pool + "}\nroutes:\n  - {path: /**, upstream: api}\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return s, err
	}
	if err := s.start(); err != nil {
		return s, err
	}
	return s, s.traffic(ctx)
}

// token lets publishers publish.
const token = "drill"

// start starts the program, and returns once it is ready.
func (s *site) start() error {
	cmd := exec.Command(s.command[0], s.command[1:]...) //nolint:gosec,noctx // ours; close asks it to drain
	cmd.Stderr = &s.stderr
	cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME="+s.dir) // where a certificate is made
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.cmd = cmd
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		switch name, address, _ := strings.Cut(lines.Text(), " "); name {
		case "http":
			s.http = address
		case "https":
			s.https = address
		case "admin":
			s.admin = address
		case "ready":
			s.work.Go(func() { _, _ = io.Copy(io.Discard, stdout) })
			return nil
		}
	}
	return errors.New("fairlead did not become ready")
}

// close ends everything. What the traffic does must have been ended by its context.
func (s *site) close() error {
	var err error
	if s.cmd != nil {
		_ = s.cmd.Process.Signal(syscall.SIGINT) // it may have ended
		late := time.AfterFunc(patience, func() { _ = s.cmd.Process.Kill() })
		s.work.Wait() // its output ends with it
		err = s.cmd.Wait()
		late.Stop()
		if err != nil {
			err = fmt.Errorf("fairlead: %w\n%s", err, s.stderr.Bytes())
		} else if bytes.Contains(s.stderr.Bytes(), []byte("panic")) {
			err = fmt.Errorf("fairlead panicked:\n%s", s.stderr.Bytes())
		}
	}
	for _, b := range s.backends {
		b.close()
	}
	s.watch.CloseIdleConnections()
	s.clients.CloseIdleConnections()
	for i := range s.ends {
		s.ends[len(s.ends)-1-i]()
	}
	if s.dir != "" {
		err = errors.Join(err, os.RemoveAll(s.dir))
	}
	return err
}

// wrong notes that a healthy client did not get what it should.
func (s *site) wrong(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.errors++
	s.last = err
}

// failed returns what healthy clients did not get.
func (s *site) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.errors > 0 {
		return fmt.Errorf("%d failures of healthy clients, the last: %w", s.errors, s.last)
	}
	return nil
}
