package conformance_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for what must come; it is never what a
// test measures.
const patience = 30 * time.Second

// process is a program that a test started and reads line by line.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string
	done  chan struct{} // closed once the program has ended

	mu     sync.Mutex
	stderr bytes.Buffer
	err    error // of the program; to be read after wait
	ended  bool  // by stop
}

// tool returns the path of a program, or fails saying what to install.
func tool(t *testing.T, install string, names ...string) string {
	t.Helper()
	for _, name := range names {
		if found, err := exec.LookPath(name); err == nil {
			return found
		}
	}
	t.Fatalf("%s is not installed: apt-get install %s, or run ci/tools", names[0], install)
	return ""
}

// start runs a program until the test ends or stop is called. It is killed
// when it outlives that by the test's patience.
func start(t *testing.T, env []string, name string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(name, args...), lines: make(chan string, 10_000), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stderr = (*stderrWriter)(p)
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		scanner := bufio.NewScanner(stdout)
		scanner.Buffer(nil, 4<<20)
		for scanner.Scan() {
			p.lines <- scanner.Text()
		}
		close(p.lines)
		p.err = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("%s %s wrote to standard error:\n%s", name, strings.Join(args, " "), p.errors())
		}
	})
	return p
}

// stop asks the program to end, and waits for it.
func (p *process) stop() {
	p.t.Helper()
	p.ended = true
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	p.wait()
}

// kill ends the program without a word, as a client that vanishes.
func (p *process) kill() {
	p.t.Helper()
	p.ended = true
	_ = p.cmd.Process.Kill()
	p.wait()
}

func (p *process) wait() {
	p.t.Helper()
	for {
		select {
		case <-p.done:
			return
		case _, more := <-p.lines:
			if !more {
				p.lines = nil
			}
		case <-time.After(patience):
			_ = p.cmd.Process.Kill()
			<-p.done
			p.t.Errorf("%s did not end when asked to", p.cmd.Path)
			return
		}
	}
}

// line returns the next line of output, or fails.
func (p *process) line() string {
	p.t.Helper()
	line, ok := p.next()
	if !ok {
		p.t.Fatalf("%s ended early, and wrote to standard error:\n%s", p.cmd.Path, p.errors())
	}
	return line
}

// next returns the next line of output; ok is false once the program has ended.
func (p *process) next() (line string, ok bool) {
	p.t.Helper()
	select {
	case line, ok = <-p.lines:
	case <-time.After(patience):
		p.t.Fatalf("%s has not written the line that was waited for; standard error:\n%s", p.cmd.Path, p.errors())
	}
	return line, ok
}

// rest returns what the program writes until it ends by itself.
func (p *process) rest() []string {
	p.t.Helper()
	var all []string
	for {
		line, ok := p.next()
		if !ok {
			<-p.done
			return all
		}
		all = append(all, line)
	}
}

func (p *process) errors() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stderr.String()
}

// stderrWriter keeps the last part of what a program writes to standard error.
type stderrWriter process

func (w *stderrWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stderr.Len() < 1<<20 {
		w.stderr.Write(b)
	}
	return len(b), nil
}

// decode reads a line of JSON that a script wrote.
func decode[T any](t *testing.T, line string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(line), &v); err != nil {
		t.Fatalf("%q is not the JSON that was waited for: %v", line, err)
	}
	return v
}

// node runs one of the scripts in npm/.
func node(t *testing.T, script string, args ...string) *process {
	t.Helper()
	if _, err := os.Stat("node_modules/.package-lock.json"); err != nil {
		t.Fatal("the npm packages are not installed: run npm ci in conformance/, or ci/tools")
	}
	return start(t, nil, tool(t, "nodejs", "node"), append([]string{"npm/" + script}, args...)...)
}

// chromium returns the path of the browser.
func chromium(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("CHROMIUM"); path != "" {
		return path
	}
	return tool(t, "chromium", "chromium", "chromium-browser", "google-chrome")
}

// browse opens a page in Chromium; the page's calls of report are the lines.
// More arguments of the browser may be given.
func browse(t *testing.T, url string, args ...string) *process {
	t.Helper()
	return node(t, "browse.mjs", append([]string{chromium(t), url}, args...)...)
}

// curl runs curl without progress and without buffering.
func curl(t *testing.T, args ...string) *process {
	t.Helper()
	return start(t, nil, tool(t, "curl", "curl"), append([]string{"-sS", "-N", "--max-time", "60"}, args...)...)
}
